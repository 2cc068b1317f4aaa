"""The record of a sweep in MLflow follows its grid and its best row, and takes no run from another sweep."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.sweep.late_tracking import deliver_sweeps
from flows.sweep.record import TAG, SweepRecord
from infra.record import TrackedRun
from infra.tracking.tracker import Tracker
from tests.conftest import TinyRun
from tests.flows.sweep.rows import distances
from tests.flows.sweep.test_running import Bench

KEYS = {"a-1a2b3c4d": "01" * 10, "b-1a2b3c4d": "02" * 10}


@pytest.fixture
def open_record(tiny_run: TinyRun) -> Callable[..., SweepRecord]:
    def of(name: str = "mine", grid: str = "sample.num_steps=3,4") -> SweepRecord:
        sweep = Bench(tiny_run).open(grid, tracking=True)
        return SweepRecord.open(replace(sweep.plan, name=name), sweep.settings, sweep.store)

    return of


@pytest.fixture
def find(sealed_root: Path) -> Callable[[str], Run]:
    """Find a run in MLflow by its name."""
    client = MlflowClient(f"sqlite:///{sealed_root}/mlflow.db")

    def of(name: str) -> Run:
        experiment = client.get_experiment_by_name("ddpm").experiment_id
        (run,) = (run for run in client.search_runs([experiment]) if run.info.run_name == name)
        return run

    return of


def test_the_same_name_with_another_grid_has_its_grid_and_its_best_row(
    open_record: Callable[..., SweepRecord], find: Callable[[str], Run], sealed_root: Path
) -> None:
    """The best figure may fall, and rise again if the grid gets shorter."""
    client = MlflowClient(f"sqlite:///{sealed_root}/mlflow.db")
    short, long = [(10.0, 1.0)], [(10.0, 1.0), (7.0, 1.0)]
    for grid, values in (("3", short), ("3,4", long), ("3,4", long), ("3", short)):
        record = open_record(grid=f"sample.num_steps={grid}")
        record.start()
        record.close(distances(*values), {}, dict(list(KEYS.items())[: len(values)]))
        assert record.complaint == ""
        top = find("mine")
        assert top.data.metrics["best/fid"] == values[-1][0]
        assert top.data.tags["ddpm.grid"] == f"sample.num_steps={grid.replace(',', ', ')}"
        assert top.data.params == {}, "because MLflow never changes a param"
    history = client.get_metric_history(top.info.run_id, "best/fid")
    assert [(one.step, one.value) for one in sorted(history, key=lambda one: one.timestamp)] == [
        (1, 10.0),
        (2, 7.0),
        (2, 10.0),
    ]


def test_a_run_of_two_sweeps_stays_below_the_first_and_has_the_tags_of_both(
    open_record: Callable[..., SweepRecord], find: Callable[[str], Run], sealed_root: Path, tiny_run: TinyRun
) -> None:
    uri = f"sqlite:///{sealed_root}/mlflow.db"
    for name, key in KEYS.items():
        tracker = Tracker(uri, "ddpm", sealed_root / "mlartifacts")
        tracker.connect()
        tracker.start(TrackedRun(key=key, name=name))
        tracker.finish()
    for name, keys in (("mine", list(KEYS)[:1]), ("other", list(KEYS))):
        record = open_record(name)
        record.start()
        record.adopt([KEYS[key] for key in keys])
        record.close(distances((10.0, 1.0)), {}, {key: KEYS[key] for key in keys})
        assert record.complaint == ""
    shared, own = (find(name).data.tags for name in KEYS)
    first, second = (find(name).info.run_id for name in ("mine", "other"))
    assert (shared["mlflow.parentRunId"], own["mlflow.parentRunId"]) == (first, second)
    assert (shared[f"{TAG}.mine"], shared[f"{TAG}.other"], own[f"{TAG}.other"]) == ("mine", "other", "other")
    assert f"{TAG}.mine" not in own

    assert [one.line for one in deliver_sweeps(tiny_run.store, set())] == ["was there", "was there"]
    assert {one.line for one in deliver_sweeps(tiny_run.store, {next(iter(KEYS))})} == {"delivered: sweep"}
    assert find("a-1a2b3c4d").data.tags["mlflow.parentRunId"] == first, "also if both are delivered late"

    MlflowClient(uri).delete_run(first)
    record = open_record("other")
    record.start()
    record.adopt(list(KEYS.values()))
    assert find("a-1a2b3c4d").data.tags["mlflow.parentRunId"] == second, "the former parent was deleted"
