"""A sweep that MLflow missed gets there later, once, from its files; on a real store of MLflow."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.cli import run_command
from flows.run_record import TRACKING
from flows.sweep.files import lease_of
from flows.sweep.late_tracking import deliver_sweeps
from flows.sweep.outcome import SweepRun
from flows.sweep.record import TAG
from flows.sweep.running import run_sweep
from infra.outputs.lease import held
from infra.record import TrackedRun
from infra.tracking.tracker import Tracker
from tests.conftest import TinyRun
from tests.faults.leases import holder, never
from tests.flows.sweep.test_running import Bench

AWAY = "http://127.0.0.1:9"


def track(run: SweepRun, uri: str, root: Path) -> None:
    """Give a run of the sweep its run in MLflow."""
    tracker = Tracker(uri, "ddpm", root / "mlartifacts")
    tracker.connect()
    tracker.start(TrackedRun(key=run.key, name=run.name))
    tracker.finish()


def test_a_sweep_that_mlflow_missed_is_delivered_with_its_page_and_above_its_runs(
    tiny_run: TinyRun, sealed_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tiny_run)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    sweep = bench.open(tracking=True)
    view = run_sweep(sweep, start=bench.start())
    assert any(AWAY in line for line in bench.said)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    uri = f"sqlite:///{sealed_root}/mlflow.db"
    track(sweep.runs[0], uri, sealed_root)

    with held(sweep.store, lease_of("mine"), holder(), on_wait=never):
        assert [one.line.split(":")[0] for one in deliver_sweeps(sweep.store, set())] == ["is at work"]
    assert run_command(["track", "flush", "--root", str(sealed_root)]) == 0
    assert "mine  delivered: sweep" in capsys.readouterr().out
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ddpm").experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    top = found["mine"]
    assert (top.info.status, top.data.tags["ddpm.best"]) == ("FINISHED", view.note)
    tags = found[sweep.runs[0].name].data.tags
    assert (tags["mlflow.parentRunId"], tags[f"{TAG}.mine"]) == (top.info.run_id, "mine")
    files = {path.name for path in (sealed_root / "sweeps" / "mine").iterdir() if path.is_file()} - {TRACKING}
    assert {path.name for path in (sealed_root / "mlartifacts" / top.info.run_id / "artifacts").iterdir()} == files
    assert [one.line for one in deliver_sweeps(sweep.store, set())] == ["was there"]

    # A run that comes later finds its place below the sweep.
    track(sweep.runs[1], uri, sealed_root)
    assert [one.line for one in deliver_sweeps(sweep.store, {sweep.runs[1].name})] == ["delivered: sweep"]
    (late,) = (run for run in client.search_runs([experiment]) if run.info.run_name == sweep.runs[1].name)
    assert late.data.tags["mlflow.parentRunId"] == top.info.run_id
    client.delete_run(top.info.run_id)
    assert "was deleted" in next(deliver_sweeps(sweep.store, set())).line


def test_a_damaged_record_is_named_and_one_that_works_again_has_none(
    tiny_run: TinyRun, sealed_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tiny_run)
    assert sealed_root == tiny_run.root
    sweep = bench.open(tracking=False)
    run_sweep(sweep, start=bench.start())
    assert list(deliver_sweeps(sweep.store, set())) == [], "it was run without tracking"
    sweep.store.replace(f"sweeps/mine/{TRACKING}", b"{}")
    (delivery,) = deliver_sweeps(sweep.store, set())
    assert delivery.error is not None
    assert delivery.error.exit_code == 6
    monkeypatch.setattr("flows.sweep.running._publish", _stopped)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(bench.open(), start=bench.start())
    assert list(deliver_sweeps(sweep.store, set())) == [], "its files are no longer those that were recorded"


def _stopped(_: object) -> None:
    raise KeyboardInterrupt
