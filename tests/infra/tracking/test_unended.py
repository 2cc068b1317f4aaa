"""Unended runs are found by their root, and ended so that one ended by half is found again."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.tracking.unended import UnendedRuns
from tests.infra.tracking.records import make_run, make_tracker, statuses

KEY = "c" * 20


def test_a_run_that_was_ended_half_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = make_tracker(tmp_path)
    tracker.start(make_run(KEY, tags={"ddpm.root": "/here", "ddpm.lease": ".leases/c/lease"}))
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
    assert statuses(tracker, KEY) == {"pipeline": "RUNNING", "train": "KILLED"}
    assert runs.below("/here") == [run]
    assert runs.end_as_killed(run)
    assert statuses(tracker, KEY) == {"pipeline": "KILLED", "train": "KILLED"}
    assert not runs.end_as_killed(run)


def test_only_runs_of_the_root_are_ended(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    tracker.start(make_run("d" * 20, tags={"ddpm.root": "/here/it's", "ddpm.lease": ".leases/d/lease"}))
    runs = UnendedRuns(tracker.uri)
    assert runs.below("/here") == []
    assert [run.lease for run in runs.below("/here/it's")] == [".leases/d/lease"]
    tracker.end("", "FAILED")
    assert runs.below("/here/it's") == []
