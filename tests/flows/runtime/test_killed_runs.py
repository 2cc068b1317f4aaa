"""Runs whose process was killed end in MLflow too, as killed, and go on in the same place."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.cli import run_command
from infra.tracking.unended import UnendedRuns
from tests.infra.tracking.records import make_run, make_tracker
from tests.scripts import python

# What a run does before it trains.
TRAIN = """
import sys, time
from flows.runtime.settings import RunSettings
from flows.runtime.surroundings import open_surroundings
from infra.record import TrackedRun

root, key = sys.argv[1:]
with open_surroundings(RunSettings(root=root), 1, lambda _: None) as around:
    around.store.make()
    around.begin(TrackedRun(key=key, name=f"digits-{key[:8]}"), recipe="r")
    around.tracker.begin("train", {})
    sys.stderr.write("trains\\n")
    sys.stderr.flush()
    time.sleep(600)
"""
KILLED = "ended as killed: its process is gone; its own command goes on with it"
AT_WORK = "is at work, or its machine was lost less than five minutes ago"


@contextmanager
def training(root: Path, key: str) -> Iterator["subprocess.Popen[str]"]:
    child = python(TRAIN, root, key)
    try:
        assert child.stderr is not None
        said = ""
        while not said.endswith("trains\n"):
            line = child.stderr.readline()
            assert line, said
            said += line
        yield child
    finally:
        child.kill()
        child.communicate()


def statuses(root: Path) -> dict[str, str]:
    """The status of each run, by its stage and key."""
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return {f"{run.data.tags['ddpm.stage']} {run.data.tags['ddpm.pipeline_key'][0]}": run.info.status for run in found}


def flushed(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = run_command(["track", "flush", "--root", str(root)])
    return code, capsys.readouterr().out.splitlines()


def test_a_killed_run_ends_as_killed_and_one_at_work_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with training(root, "a" * 20) as first, training(root, "b" * 20):
        assert statuses(root) == dict.fromkeys(("pipeline a", "train a", "pipeline b", "train b"), "RUNNING")
        assert flushed(root, capsys) == (0, [f"digits-{key * 8}  {AT_WORK}" for key in "ab"])
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert flushed(root, capsys) == (0, [f"digits-{'a' * 8}  {KILLED}", f"digits-{'b' * 8}  {AT_WORK}"])
        ended = {"pipeline a": "KILLED", "train a": "KILLED", "pipeline b": "RUNNING", "train b": "RUNNING"}
        assert statuses(root) == ended
        assert flushed(root, capsys) == (0, [f"digits-{'b' * 8}  {AT_WORK}"])
        with training(root, "a" * 20):
            assert set(statuses(root).values()) == {"RUNNING"}, "its own command goes on with it"
    assert set(statuses(root).values()) == {"RUNNING"}


def test_a_living_run_of_another_machine_is_left_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two machines with one server, whose roots have the same path."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    here = tmp_path / "home"
    with training(here, "a" * 20):
        here.rename(tmp_path / "there")
        with training(here, "b" * 20):
            assert flushed(here, capsys) == (0, [f"digits-{'b' * 8}  {AT_WORK}"])
    assert statuses(root)["train a"] == "RUNNING"
    there = tmp_path / "there"
    assert (here / ".root").read_text() != (there / ".root").read_text()
    copied = shutil.copytree(there, tmp_path / "copied")
    shutil.rmtree(copied / ".leases")
    assert flushed(copied, capsys) == (3, []), "a copy has the name of another root, and no run"
    shutil.rmtree(here)
    here.mkdir()
    assert flushed(here, capsys) == (3, []), "a root without a tracked run"
    assert set(statuses(root).values()) == {"RUNNING"}


def test_a_run_that_was_ended_half_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = make_tracker(tmp_path)
    tracker.start(make_run("c" * 20, tags={"ddpm.root": "/here", "ddpm.lease": ".leases/c/lease"}))
    tracker.begin("train", {})
    runs = UnendedRuns(tracker.uri)
    (run,) = runs.below("/here")
    real, calls = MlflowClient.set_terminated, list[str]()

    def fails(self: MlflowClient, run_id: str, status: str) -> None:
        calls.append(run_id)
        if len(calls) == 2:
            raise ConnectionError("is away")
        real(self, run_id, status)

    monkeypatch.setattr(MlflowClient, "set_terminated", fails)
    with pytest.raises(Exception, match="did not answer \\(is away\\) - run the same command again once it does"):
        runs.end_as_killed(run)
    assert statuses(tmp_path) == {"pipeline c": "RUNNING", "train c": "KILLED"}
    assert runs.below("/here") == [run]
    assert runs.end_as_killed(run)
    assert statuses(tmp_path) == {"pipeline c": "KILLED", "train c": "KILLED"}
    assert not runs.end_as_killed(run)


def test_only_runs_of_the_root_are_ended(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    tracker.start(make_run("d" * 20, tags={"ddpm.root": "/here/it's", "ddpm.lease": ".leases/d/lease"}))
    runs = UnendedRuns(tracker.uri)
    assert runs.below("/here") == []
    assert [run.lease for run in runs.below("/here/it's")] == [".leases/d/lease"]
    tracker.end("", "FAILED")
    assert runs.below("/here/it's") == []
