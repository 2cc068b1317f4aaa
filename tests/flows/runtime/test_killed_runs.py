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
NOTHING = "no run has finished, and MLflow shows none as running"
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
    assert flushed(copied, capsys) == (0, [NOTHING]), "a copy has another place, and no run at work"
    shutil.rmtree(here)
    here.mkdir()
    assert flushed(here, capsys) == (3, []), "a root without a tracked run"
    assert set(statuses(root).values()) == {"RUNNING"}
