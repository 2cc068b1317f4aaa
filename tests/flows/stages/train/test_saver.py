"""The saver commits the jobs of training in order; it bridges an outage for a while, then raises its error."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import torch

from flows.stages.train.saver import Copies, Job, Saver
from infra.errors import IntegrityError, ResourceError, StorageError
from tests.flows.stages.train.test_batches import await_true


class Time:
    """A clock that only pauses move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Fails:
    """A commit that raises so many times."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left, self.error = times, error or StorageError("does not answer")
        self.committed = threading.Event()

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error
        self.committed.set()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make(time: Time) -> Callable[..., Saver]:
    return lambda patience_s=600.0: Saver(patience_s, time.clock, time.pause)


def copies() -> Copies:
    return Copies({"a": torch.zeros(1)})


def job(commit: Callable[[], object], **more: Any) -> Job:
    return Job(name="the checkpoint", commit=commit, **more)


def test_jobs_are_committed_in_order(make: Callable[..., Saver]) -> None:
    done: list[int] = []
    with make() as saver:
        for number in range(20):
            saver.put(job(lambda number=number: done.append(number)))
        saver.flush()
    assert done == list(range(20))


def test_the_thread_that_hands_over_does_not_wait(make: Callable[..., Saver]) -> None:
    go = threading.Event()
    with make() as saver:
        saver.put(job(go.wait, copies=copies()))
        assert saver.has_room()
        saver.put(job(go.wait, copies=copies()))
        assert not saver.has_room(), "two are pending, the one in work among them"
        saver.put(job(go.wait))
        go.set()
        saver.await_room(until=lambda: False)
        saver.flush()


def test_jobs_of_the_same_copies_count_once(make: Callable[..., Saver]) -> None:
    """A checkpoint and a point of the same step are one copy of the state in memory."""
    go, shared = threading.Event(), copies()
    with make() as saver:
        for _ in range(3):
            saver.put(job(go.wait, copies=shared))
        assert saver.has_room()
        saver.put(job(go.wait, copies=copies()))
        assert not saver.has_room()
        go.set()
        saver.flush()
        assert saver.has_room()


def test_a_wait_for_room_ends_with_the_saver_s_own_error(make: Callable[..., Saver]) -> None:
    error, go = IntegrityError("is not a record"), threading.Event()

    def fail() -> None:
        go.wait(10)
        raise error

    with make() as saver:
        for _ in range(2):
            saver.put(job(fail, copies=copies()))
        threading.Timer(0.1, go.set).start()
        with pytest.raises(IntegrityError) as caught:
            saver.await_room(until=lambda: False)
    assert caught.value is error


def test_it_waits_for_room_until_it_is_asked_to_stop(make: Callable[..., Saver]) -> None:
    go, asked = threading.Event(), []
    with make() as saver:
        for _ in range(2):
            saver.put(job(go.wait, copies=copies()))
        saver.await_room(until=lambda: bool(asked.append(1) or len(asked) > 2))
        assert len(asked) == 3
        assert not saver.has_room()
        go.set()


@pytest.mark.parametrize("error", [StorageError("does not answer"), ResourceError("no space left")])
def test_an_outage_is_bridged_and_said_once(make: Callable[..., Saver], time: Time, error: Exception) -> None:
    commit = Fails(4, error)
    with make() as saver:
        saver.put(job(commit))
        saver.flush()
        assert commit.committed.is_set()
        assert time.pauses == [1, 2, 4, 8], "at growing intervals"
        assert saver.trouble == ""
        (line,) = saver.lines
        assert "the checkpoint" in line
        assert error.cause in line
        saver.check()


def test_training_learns_of_it_while_it_lasts(make: Callable[..., Saver]) -> None:
    with make() as saver:
        go, troubles = threading.Event(), []
        commit = Fails(1)
        saver._pause = lambda _: troubles.append(saver.trouble) or go.wait(10)
        saver.put(job(commit))
        await_true(lambda: troubles)
        assert troubles == ["saving is retried"]
        saver.check()
        go.set()
        saver.flush()


def test_an_outage_that_lasts_ends_it_with_its_own_error(make: Callable[..., Saver], time: Time) -> None:
    error, later = StorageError("does not answer"), Fails(0)
    with make(patience_s=100.0) as saver:
        saver.put(job(Fails(10**6, error), copies=copies()))
        saver.put(job(later))
        for call in (saver.flush, saver.check, lambda: saver.await_room(lambda: False), saver.flush):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value is error
    assert 100 <= time.now < 131
    assert max(time.pauses) == 30
    assert not later.committed.is_set()


def test_two_outages_each_have_their_time(make: Callable[..., Saver]) -> None:
    with make(patience_s=10.0) as saver:
        for _ in range(5):
            saver.put(job(Fails(3)))
        saver.flush()
        assert len(saver.lines) == 5


def test_any_other_error_ends_it_at_once(make: Callable[..., Saver], time: Time) -> None:
    with make() as saver:
        saver.put(job(Fails(1, IntegrityError("is not a record"))))
        with pytest.raises(IntegrityError):
            saver.flush()
    assert time.pauses == []


def test_a_flush_in_a_hurry_retries_no_longer_than_it_has(make: Callable[..., Saver], time: Time) -> None:
    with make() as saver:
        saver.put(job(Fails(10**6)))
        with pytest.raises(StorageError):
            saver.flush(within_s=15.0)
    assert time.now <= 16 + 30, "a pause that had begun may come first"


def test_a_flush_gives_up_on_a_try_that_hangs(time: Time) -> None:
    """A minute after its time is over; so do a second flush and the end of the block, at once."""
    go = threading.Event()
    with Saver(clock=time.clock) as saver:
        saver.put(job(go.wait))
        ticks = threading.Timer(0.1, time.pause, [15.0 + 59.0])
        ticks.start()
        threading.Timer(0.6, time.pause, [1.0]).start()
        for within_s in (15.0, 15.0):
            with pytest.raises(StorageError, match="the checkpoint: the store does not answer"):
                saver.flush(within_s)
        assert time.now == 75
        began = monotonic()
    assert monotonic() - began < 5
    go.set()


def test_a_wish_that_comes_during_a_try_shortens_the_pause_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last checkpoint would wait behind the pause of one that it supersedes."""
    monkeypatch.setattr("flows.stages.train.saver._FIRST_DELAY_S", 30.0)
    trying, go, later = threading.Event(), threading.Event(), Fails(0)

    def fail() -> None:
        trying.set()
        go.wait(10)
        raise StorageError("does not answer")

    with Saver() as saver:
        saver.put(job(fail, is_superseded_by_later=True))
        assert trying.wait(10)
        saver.drop_superseded()
        saver.put(job(later))
        go.set()
        assert later.committed.wait(10)


def test_superseded_jobs_are_left_out(make: Callable[..., Saver]) -> None:
    done: list[str] = []
    go = threading.Event()
    with make() as saver:
        retried = Fails(10**6)
        saver._pause = lambda _: go.wait(10)
        saver.put(job(retried, is_superseded_by_later=True))
        await_true(lambda: saver.trouble)
        saver.put(job(lambda: done.append("old"), is_superseded_by_later=True))
        saver.put(job(lambda: done.append("row")))
        saver.drop_superseded()
        saver.put(job(lambda: done.append("last"), is_superseded_by_later=True))
        go.set()
        saver.flush()
    assert done == ["row", "last"]


def test_its_thread_ends_with_the_block(make: Callable[..., Saver]) -> None:
    before = threading.active_count()
    with make() as saver:
        saver.put(job(Fails(0)))
    assert threading.active_count() == before


def test_copies_keep_their_values() -> None:
    tensor = torch.arange(8.0).reshape(1, 2, 2, 2).contiguous(memory_format=torch.channels_last)
    copies = Copies({"a": tensor})
    expected = tensor.clone()
    tensor.zero_()
    assert torch.equal(copies.on_host()["a"], expected)


# In a process of its own, in which no other thread begins or ends.
COUNT_THREADS = """
import threading
from pathlib import Path
import torch
from flows.stages.train.saver import Copies
from infra.outputs.tensors import encode_tensors

def encode(copies):
    before = len(list(Path("/proc/self/task").iterdir()))
    encode_tensors(copies.on_host(), {})
    print(len(list(Path("/proc/self/task").iterdir())) - before)

torch.set_num_threads(2)
weights = torch.randn(64, 64, 16, 16).contiguous(memory_format=torch.channels_last)
copies = Copies({"w": weights})
for other in (copies.tensors["w"], weights):
    copies.tensors["w"] = other
    thread = threading.Thread(target=encode, args=[copies])
    thread.start()
    thread.join()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux lists them")
def test_encoding_copies_starts_no_threads_beside_the_steps_own() -> None:
    """With more threads than cores OpenMP lets those of the steps sleep at every wait: steps took 1.4 times as long."""
    done = subprocess.run([sys.executable, "-c", COUNT_THREADS], capture_output=True, text=True, check=True)
    copies, channels_last = (int(line) for line in done.stdout.split())
    assert copies == 0
    assert channels_last > 0, "weights in another order start threads, so that this test can fail"
