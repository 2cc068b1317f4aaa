"""A sweep goes on where it stopped, says what failed, and is found in MLflow above its runs."""

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.artifacts import figure_text
from flows.cli import run_command
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import run_key, run_name
from flows.recipe.sweep_settings import SweepSettings
from flows.run_record import TRACKING, RunRecord
from flows.runtime.settings import RunSettings
from flows.sweep.children import Child
from flows.sweep.outcome import State, SweepRun
from flows.sweep.plan import plan_sweep
from flows.sweep.record import TAG
from flows.sweep.running import COMMAND, finish, page_of, run_sweep
from flows.sweep.sweep import Sweep, open_sweep
from infra.digests import sha256
from infra.errors import ConfigError, ConflictError, DivergedError, Interrupted, ResourceError, StorageError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.record import TrackedRun
from infra.tracking.tracker import Tracker
from tests.conftest import TinyRun

GRID = "sample.num_steps=3,4"


class Bench:
    """Sweeps at the root of the finished tiny run, whose processes take its record for their own."""

    def __init__(self, run: TinyRun) -> None:
        self.run = run
        self.said: list[str] = []
        self.begun: list[str] = []

    def open(self, *grid: str, tracking: bool = False, wait: bool = True, **choices: object) -> Sweep:
        settings = RunSettings(
            root=str(self.run.root), preset="digits", mode="in-process", tracking=tracking, wait=wait
        )
        made = SweepSettings.model_validate({"grid": list(grid or (GRID,))} | choices)
        plan = plan_sweep(self.run.config, "digits", "mine", made, self.said.append)
        return open_sweep(plan, settings, made, self.said.append)

    def start(self, failing: Sequence[str] = ()) -> Callable[[Child], "subprocess.Popen[bytes]"]:
        """Return the start of a process that finishes as the tiny run did, or fails if its name has one of these."""

        def start(child: Child) -> "subprocess.Popen[bytes]":
            self.begun.append(child.name)
            if any(part in child.name for part in failing):
                child.log.write_text("work\nddpm: train: loss is not finite\n")
                return subprocess.Popen(["sh", "-c", "exit 8"])
            RunRecord(name=f"{child.name}", finished=self.run.finished).write(self.run.store)
            return subprocess.Popen(["true"])

        return start


@pytest.fixture
def bench(tiny_run: TinyRun) -> Bench:
    return Bench(tiny_run)


def test_every_run_has_its_settings_and_the_page_its_figures(bench: Bench) -> None:
    sweep = bench.open()
    view = run_sweep(sweep, start=bench.start())
    finish(sweep)
    assert bench.begun == [run.name for run in sweep.runs]
    for run, steps in zip(sweep.runs, (3, 4), strict=True):
        assert run.name.startswith("digits-")
        spec = json.loads((sweep.folder / f"{run.name}.json").read_text())
        assert spec["config"]["sample"]["num_steps"] == steps
        assert PipelineConfig.model_validate(spec["config"]) == run.planned.config
        assert RunSettings.model_validate(spec["run"]) == sweep.settings
    assert view.lines[0].figures == view.lines[1].figures, "both took the figures of one run"
    assert view.lines[1].verdict == "equal"
    assert Path(page_of(sweep)).read_text().count("reports/digits-") == 2


def test_a_time_limit_is_that_of_the_sweep_and_not_of_each_run(bench: Bench) -> None:
    sweep = bench.open()
    sweep.settings = sweep.settings.model_copy(update={"timeout": 90.0})
    run_sweep(sweep, start=bench.start())
    for run in sweep.runs:
        assert json.loads((sweep.folder / f"{run.name}.json").read_text())["run"]["timeout"] == 0.0


def test_a_run_by_an_earlier_releases_rules_is_not_ranked_beside_others_and_is_named(bench: Bench) -> None:
    sweep = bench.open()
    view = run_sweep(sweep, start=bench.start())
    assert "left out" not in view.note
    old = sweep.runs[0].name
    trial = sweep.trials[old]
    sweep.trials[old] = replace(trial, rules=trial.rules | {"rules of train": trial.rules["rules of train"] - 1})
    table, error = sweep.checked_table()
    assert error is None
    assert [row.finished for row in table.rows] == [(), (sweep.runs[1].name,)]
    assert f"; left out, as made by an earlier release's rules: {old}; " in table.note


def test_again_it_starts_nothing_and_a_longer_grid_starts_the_new_runs_alone(bench: Bench) -> None:
    run_sweep(bench.open(), start=bench.start())
    before = bench.begun.copy()
    again = bench.open()
    run_sweep(again, start=bench.start())
    assert bench.begun == before
    assert {run.state for run in again.runs} == {State.FOUND}
    longer = bench.open("sample.num_steps=3,4,5")
    run_sweep(longer, start=bench.start())
    assert len(bench.begun) == len(before) + 1
    assert longer.runs[2].state is State.FINISHED


def test_a_run_that_fails_is_said_and_the_others_go_on(bench: Bench) -> None:
    sweep = bench.open("sample.num_steps=3,4,6")
    failing = sweep.runs[1].name
    view = run_sweep(sweep, start=bench.start(failing=[failing]))
    assert [run.state for run in sweep.runs] == [State.FINISHED, State.FAILED, State.FINISHED]
    assert [line.runs for line in view.lines] == ["1", "0 of 1", "1"]
    (line,) = [line for line in bench.said if "failed" in line]
    assert "2/3 sample.num_steps=4: failed (exit 8: train: loss is not finite) after" in line
    assert f"2/3 sample.num_steps=4: begun as {failing}" in " ".join(bench.said)
    by = view.figures[0]
    (figure,) = (figure_text(one) for one in bench.run.figures.figures if one.name == by)
    assert any("1/3 sample.num_steps=3: finished after" in line and f"; {by} {figure}" in line for line in bench.said)
    with pytest.raises(DivergedError) as error:
        finish(sweep)
    assert f"1 of 3 runs did not finish; the worst is {failing}" in str(error.value)
    bench.begun.clear()
    again = bench.open("sample.num_steps=3,4,6")
    run_sweep(again, start=bench.start())
    assert bench.begun == [failing]
    finish(again)


def test_a_run_whose_record_is_not_there_has_failed(bench: Bench) -> None:
    """As if the source had changed between the sweep's listing and the run's."""
    sweep = bench.open()
    run_sweep(sweep, start=lambda child: subprocess.Popen(["true"]))
    assert {run.code for run in sweep.runs} == {5}
    with pytest.raises(ConflictError, match="the source of images changed"):
        finish(sweep)


def test_a_record_that_cannot_be_read_now_stops_no_other_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, read = bench.open(), Sweep.read
    ended: set[str] = set()

    def away(sweep: Sweep, run: SweepRun) -> bool:
        if run.name in bench.begun and not ended:
            ended.add(run.name)
            raise StorageError("does not answer", item="s3://bucket", remedy="run again")
        return read(sweep, run)

    monkeypatch.setattr(Sweep, "read", away)
    run_sweep(sweep, start=bench.start())
    assert [run.state for run in sweep.runs] == [State.FAILED, State.FINISHED]
    assert "cannot be read now" in sweep.runs[0].line
    with pytest.raises(StorageError):
        finish(sweep)
    again = bench.open()
    run_sweep(again, start=bench.start())
    assert {run.state for run in again.runs} == {State.FOUND}, "it had ended well"


def test_an_interrupted_sweep_says_what_is_there(bench: Bench) -> None:
    sweep = bench.open()

    def start(child: Child) -> "subprocess.Popen[bytes]":
        if bench.begun:
            raise Interrupted(130)
        return bench.start()(child)

    with pytest.raises(Interrupted):
        run_sweep(sweep, start=start)
    record = json.loads(Path(page_of(sweep)).with_name("sweep.json").read_text())
    assert [run["state"] for run in record["runs"]] == ["finished", "not run yet"]


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, ConfigError), (errno.ENOSPC, ResourceError)])
def test_a_folder_that_takes_no_files_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    sweep = bench.open()

    def refuse(path: Path, *_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(kind, match=f"folder {bench.run.root}: .*{os.strerror(number)}.* choose another root"):
        run_sweep(sweep, start=bench.start())


def test_it_is_recorded_as_stopped_before_its_runs_have_saved(bench: Bench, tmp_path: Path) -> None:
    """Prefect's runner kills a cancelled run after 30 s, and a run may save for longer than that."""
    sweep = bench.open()
    record, seen = Path(page_of(sweep)).with_name("sweep.json"), tmp_path / "seen.json"
    slow = f"trap 'sleep 2; cp {record} {seen}; exit 143' TERM; : > {tmp_path}/up; while :; do sleep 0.02; done"

    def interrupt(line: str) -> None:
        if "begun as" in line:
            await_file(tmp_path / "up")
            raise Interrupted(143)

    sweep.say = interrupt
    with pytest.raises(Interrupted):
        run_sweep(sweep, start=lambda _: subprocess.Popen(["sh", "-c", slow]))
    assert [run["state"] for run in json.loads(seen.read_text())["runs"]] == ["stopped", "not run yet"]


def await_file(file: Path) -> None:
    end = time.monotonic() + 10
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_setting_without_effect_makes_one_row(bench: Bench) -> None:
    """The variance of the ancestral steps means nothing to DDIM."""
    sweep = bench.open("sample.sampler=ddim,ddpm", "sample.variance=fixed_small,fixed_large")
    assert [tuple(combination.values()) for combination in sweep.plan.combinations] == [
        ("ddim", "fixed_small"),
        ("ddpm", "fixed_small"),
        ("ddpm", "fixed_large"),
    ]
    assert [run.planned.combination for run in sweep.runs] == [0, 1, 2]
    assert bench.said == [
        "sample.sampler=ddim, sample.variance=fixed_large is the same run as sample.sampler=ddim, "
        "sample.variance=fixed_small: it has one row"
    ]


def test_the_names_are_those_that_the_runs_give_themselves(bench: Bench) -> None:
    """The tiny run's own key, from the key of its data."""
    (run,) = bench.open("sample.num_steps=5").runs
    assert run.name == run_name(bench.run.config, "digits", run.key)
    assert run.key == run_key(bench.run.config, bench.run.dataset.key)


def test_a_wrong_ranking_figure_is_said_after_the_work(bench: Bench) -> None:
    sweep = bench.open(by="fid")
    run_sweep(sweep, start=bench.start())
    with pytest.raises(ConfigError, match="--by: no such figure: fid - choose one of "):
        finish(sweep)


def test_two_sweeps_of_one_name_do_not_work_at_once(bench: Bench) -> None:
    sweep = bench.open(wait=False)
    other = Holder.here("mine", datetime.now(UTC))
    with held(sweep.store, ".leases/sweep-mine/lease", other, on_wait=print), pytest.raises(ConflictError):
        run_sweep(sweep, start=bench.start())
    assert bench.begun == []


def test_mlflow_has_the_sweep_above_its_runs(bench: Bench, sealed_root: Path) -> None:
    assert sealed_root == bench.run.root
    uri = f"sqlite:///{sealed_root}/mlflow.db"
    for _ in range(2):  # a repetition changes nothing
        sweep = bench.open(tracking=True)
        for run in sweep.runs:
            tracker = Tracker(uri, "ddpm", sealed_root / "mlartifacts")
            tracker.connect()
            tracker.start(TrackedRun(key=run.key, name=run.name))
            tracker.finish()
        view = run_sweep(sweep, start=bench.start())
    client = MlflowClient(uri)
    found = {
        run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("ddpm").experiment_id])
    }
    assert set(found) == {"mine", *(run.name for run in sweep.runs)}
    top = found["mine"]
    assert (top.info.status, top.data.tags["ddpm.stage"]) == ("FINISHED", "sweep")
    assert (top.data.tags["ddpm.grid"], top.data.tags["ddpm.seeds"]) == ("sample.num_steps=3, 4", "")
    assert top.data.params == {}, "which a longer grid could not change"
    assert top.data.tags["ddpm.best"] == view.note
    for run in sweep.runs:
        tags = found[run.name].data.tags
        assert (tags["mlflow.parentRunId"], tags[f"{TAG}.mine"]) == (top.info.run_id, "mine")
    artifacts = sealed_root / "mlartifacts" / top.info.run_id / "artifacts"
    page = Path(page_of(sweep))
    assert {path.name: sha256(path.read_bytes()) for path in artifacts.iterdir()} == {
        path.name: sha256(path.read_bytes())
        for path in page.parent.iterdir()
        if path.is_file() and path.name != TRACKING
    }


def test_the_command_of_a_run_is_one_of_the_program() -> None:
    assert run_command([COMMAND, "--help"]) == 0
