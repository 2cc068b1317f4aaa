"""A run is marked as published once everything of it has arrived, and not before."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.tracking.runs import PUBLISHED
from infra.tracking.tracker import Tracker, files_digest
from tests.infra.tracking.records import all_runs, make_run, make_tracker, record

FILES = {"report.html": b"<html>", "plots/loss.png": b"png"}


def marks(tracker: Tracker, key: str) -> dict[str, str | None]:
    return {stage: run.data.tags.get(PUBLISHED) for stage, run in all_runs(tracker, key).items()}


def test_stage_and_pipeline_are_marked_with_their_own_digests(tracker: Tracker, key: str) -> None:
    tracker.begin("train", {})
    tracker.publish("train", record())
    assert marks(tracker, key) == {"pipeline": None, "train": "d" * 64}
    tracker.close({}, FILES, {})
    assert marks(tracker, key) == {"pipeline": files_digest(FILES), "train": "d" * 64}


def test_a_part_that_did_not_arrive_leaves_its_run_unmarked(
    tracker: Tracker, key: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", refused)
        tracker.begin("train", {})
        tracker.publish("train", record())
        tracker.begin("sample", {})
        tracker.publish("sample", record(files={}))
        tracker.close({}, FILES, {})
    assert marks(tracker, key) == {"pipeline": None, "train": None, "sample": "d" * 64}
    late = make_tracker(folder, is_late=True)
    digests = {"train": "d" * 64, "sample": "d" * 64, "pipeline": files_digest(FILES)}
    missing = late.missing(make_run(key), digests, "")
    assert (missing.parts, missing.is_registered, missing.is_deleted) == (["train", "pipeline"], True, False)
    assert not late.missing(make_run(key), digests, "net").is_registered


def test_a_digest_follows_from_names_and_bytes() -> None:
    changed = [FILES | {"report.html": b"<HTML>"}, {"a": b"<html>", "plots/loss.png": b"png"}, {}]
    assert len({files_digest(files) for files in (FILES, dict(reversed(FILES.items())), *changed)}) == 4


def test_a_late_tracker_claims_nothing(folder: Path, key: str) -> None:
    late = make_tracker(folder, is_late=True)
    late.start(make_run(key))
    late.begin("train", {})
    late.publish("train", record())
    late.close({}, {}, {})
    assert late.complaint == ""
    for run in all_runs(late, key).values():
        assert run.info.status == "FINISHED"
        assert not {"ddpm.attempt", "ddpm.attempts"} & {*run.data.tags}
