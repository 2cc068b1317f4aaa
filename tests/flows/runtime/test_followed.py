"""A run's part in a job that others follow too."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.followed import Followed
from flows.runtime.handover import Handover
from infra.compute.job import Job
from infra.errors import StorageError
from infra.outputs.followers import followers
from infra.outputs.presence import LEASES
from infra.storage.local_store import LocalStore

JOB = Job(id="ddpm-train-1a-1", submission="0a", is_new=True)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def run(store: LocalStore, who: str, said: list[str]) -> Followed:
    return Followed(store=store, who=who, say=said.append, look_s=5)


def test_the_last_run_that_leaves_notes_the_stop(store: LocalStore) -> None:
    with run(store, "digits", []) as first, run(store, "photos", []) as second:
        first.join(JOB)
        second.join(JOB)
        assert first.leave(JOB).startswith("photos on host ")
        assert not Handover(store=store, job=JOB.id, submission=JOB.submission).is_stopped_by_run()
        assert second.leave(JOB) == ""
        assert Handover(store=store, job=JOB.id, submission=JOB.submission).is_stopped_by_run()
    assert store.list(LEASES) == []


def test_of_runs_that_leave_at_once_one_is_the_last(store: LocalStore) -> None:
    answers: list[str] = []
    with run(store, "digits", []) as first, run(store, "photos", []) as second:
        both = [first, second]
        for one in both:
            one.join(JOB)
        gate = threading.Barrier(2)

        def leave(one: Followed) -> None:
            gate.wait()
            answers.append(one.leave(JOB))

        threads = [threading.Thread(target=leave, args=(one,)) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert "" in answers


def test_a_run_follows_one_job_at_a_time(store: LocalStore) -> None:
    with run(store, "digits", []) as one, run(store, "photos", []) as other:
        one.join(JOB)
        one.join(replace(JOB, id="ddpm-train-1a-2"))
        other.join(JOB)
        assert other.leave(JOB) == ""


def test_a_run_does_not_count_itself_if_its_withdrawal_fails(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("is away")

    with run(store, "digits", []) as one:
        one.join(JOB)
        monkeypatch.setattr(LocalStore, "delete", away)
        one.join(JOB)
        assert one.leave(JOB) == ""
        assert len(store.list(f"{LEASES}/jobs/{JOB.id}")) == 2, "both leases are left over"
        assert Handover(store=store, job=JOB.id, submission=JOB.submission).is_stopped_by_run()


def test_a_store_that_does_not_tell_holds_up_no_interrupt(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = threading.Event()

    def away(*_: object, **__: object) -> list[str]:
        raise StorageError("is away")

    def slow(*_: object, **__: object) -> list[str]:
        told.wait(60)
        return []

    handover = Handover(store=store, job=JOB.id, submission=JOB.submission)
    with run(store, "digits", said) as one:
        monkeypatch.setattr("flows.runtime.followed.followers", away)
        assert one.leave(JOB) == ""
        assert said == [f"whether other runs follow the job {JOB.id} is not known (is away)"]
        assert handover.is_stopped_by_run()
        monkeypatch.setattr("flows.runtime.followed.followers", slow)
        one.look_s, began_s = 0.1, time.monotonic()
        assert one.leave(JOB) == ""
        assert time.monotonic() - began_s < 30
        told.set()


def test_a_run_that_is_found_too_late_goes_on_with_another_job(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def slow(*args: Any, **options: Any) -> list[str]:
        asked.wait(20)
        return followers(*args, **options)

    monkeypatch.setattr("flows.runtime.followed.followers", slow)
    handover = Handover(store=store, job=JOB.id, submission=JOB.submission)
    with run(store, "digits", []) as one, run(store, "photos", []) as other:
        one.join(JOB)
        other.join(JOB)
        one.look_s = 0.1
        assert one.leave(JOB) == "", "the job is stopped"
        assert not handover.is_stopped_by_run()
        asked.set()
        for thread in threading.enumerate():
            if thread.name == f"followers of {JOB.id}":
                thread.join(20)
        assert handover.is_stopped_by_run()
