"""Several attempts at one pipeline share its runs: none marks what another works on."""

from pathlib import Path

import pytest

from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import ROWS, STEPS, all_runs, make_run, make_tracker, record, statuses, steps


def attempt(folder: Path, key: str) -> Tracker:
    """An attempt that has begun to train."""
    made = make_tracker(folder)
    made.start(make_run(key))
    made.begin("train", {})
    assert made.complaint == ""
    return made


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_stage_ends_as_it_did_and_its_pipeline_with_it(folder: Path, status: str) -> None:
    key = f"ends-{status}"
    tracker = attempt(folder, key)
    assert statuses(tracker, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    tracker.end("train", status)
    assert statuses(tracker, key) == {"pipeline": status, "train": status}


def test_the_next_attempt_goes_on_in_the_same_runs(folder: Path, key: str) -> None:
    first = attempt(folder, key)
    first.log_history("train", ROWS[:3])
    first.end("train", "KILLED")
    before = {stage: run.info.run_id for stage, run in all_runs(first, key).items()}
    second = attempt(folder, key)
    assert statuses(second, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    second.publish("train", record())
    second.close({}, {}, {})
    runs = all_runs(second, key)
    assert {stage: run.info.run_id for stage, run in runs.items()} == before
    assert statuses(second, key) == {"pipeline": "FINISHED", "train": "FINISHED"}
    assert steps(second, runs["train"]) == steps(second, runs["pipeline"]) == STEPS


def test_attempts_are_counted_once_each(folder: Path, key: str) -> None:
    for number in (1, 2, 3):
        tracker = attempt(folder, key)
        tracker.begin("train", {})
        tracker.log_history("train", ROWS[:3])
        tracker.end("train", "FAILED")
        counts = {stage: run.data.tags["ddpm.attempts"] for stage, run in all_runs(tracker, key).items()}
        assert counts == {"pipeline": str(number), "train": str(number)}


def test_a_retry_inside_one_attempt_runs_again(folder: Path, key: str) -> None:
    tracker = attempt(folder, key)
    tracker.end("train", "FAILED")
    tracker.begin("train", {})
    assert statuses(tracker, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    assert all_runs(tracker, key)["train"].data.tags["ddpm.attempts"] == "1"


def test_an_attempt_does_not_mark_what_a_later_one_works_on(folder: Path, key: str) -> None:
    second, third = attempt(folder, key), attempt(folder, key)
    second.end("train", "FAILED")
    assert statuses(second, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    third.end("train", "KILLED")
    assert statuses(third, key) == {"pipeline": "KILLED", "train": "KILLED"}


def test_an_attempt_that_still_works_takes_its_runs_back(folder: Path, key: str) -> None:
    """The later of two attempts is stopped; the earlier one's next rows show that it works."""
    first, second = attempt(folder, key), attempt(folder, key)
    second.end("train", "KILLED")
    assert statuses(first, key) == {"pipeline": "KILLED", "train": "KILLED"}
    first.log_history("train", ROWS[:3])
    assert statuses(first, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    second.end("train", "KILLED")
    assert statuses(first, key) == {"pipeline": "RUNNING", "train": "RUNNING"}


def test_rows_after_the_end_do_not_revive_a_run(folder: Path, key: str) -> None:
    tracker = attempt(folder, key)
    tracker.end("train", "KILLED")
    tracker.log_history("train", ROWS[:3])
    assert statuses(tracker, key) == {"pipeline": "KILLED", "train": "KILLED"}
    assert steps(tracker, all_runs(tracker, key)["train"]) == STEPS[:3]


def test_what_is_finished_stays_so(folder: Path, key: str) -> None:
    late, quick = attempt(folder, key), attempt(folder, key)
    quick.publish("train", record())
    quick.close({}, {}, {})
    late.end("train", "FAILED")
    again = attempt(folder, key)
    again.end("train", "FAILED")
    assert statuses(again, key) == {"pipeline": "FINISHED", "train": "FINISHED"}


def test_a_late_failure_marks_the_pipeline_and_not_the_finished_stage(folder: Path, key: str) -> None:
    tracker = attempt(folder, key)
    tracker.publish("train", record())
    tracker.end("train", "FAILED")
    assert statuses(tracker, key) == {"pipeline": "FAILED", "train": "FINISHED"}
    tracker.close({}, {}, {})
    tracker.end("train", "FAILED")
    assert statuses(tracker, key) == {"pipeline": "FINISHED", "train": "FINISHED"}


def test_an_end_before_the_beginning_marks_nothing_of_others(folder: Path, key: str) -> None:
    worker = attempt(folder, key)
    idle = make_tracker(folder)
    idle.connect()
    idle.end("train", "FAILED")
    assert statuses(worker, key) == {"pipeline": "RUNNING", "train": "RUNNING"}
    idle.start(make_run(key))
    idle.end("train", "FAILED")
    assert statuses(worker, key) == {"pipeline": "FAILED", "train": "RUNNING"}
    worker.begin("sample", {})
    assert statuses(worker, key) == {"pipeline": "RUNNING", "train": "RUNNING", "sample": "RUNNING"}
