"""One at a time: killed, slow, lost, racing and damaged holders, on a disk."""

import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import ConflictError, StorageError, Term
from infra.outputs.lease import held
from infra.storage.local_store import LocalStore
from tests.faults.leases import NAME, FakeTime, Hooked, await_true, elsewhere, ended, holder, never, number
from tests.scripts import python

HOLD = """
import sys, time
from datetime import UTC, datetime
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.storage.open import open_store
with held(open_store(sys.argv[1]), sys.argv[2], Holder.here("digits-1a2b", datetime.now(UTC)), on_wait=print):
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_free_lease_is_held_renewed_and_released(store: LocalStore) -> None:
    with held(store, NAME, holder(), on_wait=never, beat_s=0.02):
        assert len(store.list(NAME)) >= 1
        await_true(lambda: min(store.list(NAME), default="") >= number(4))
        assert len(store.list(NAME)) <= 2
    assert store.list(NAME) == []


def test_an_exception_releases_it(store: LocalStore) -> None:
    with pytest.raises(ZeroDivisionError), held(store, NAME, holder(), on_wait=never):
        raise ZeroDivisionError
    assert store.list(NAME) == []


def test_a_living_holder_is_waited_for_and_a_killed_one_followed_at_once(store: LocalStore) -> None:
    with python(HOLD, store.uri, NAME) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        lines: list[str] = []
        killed_at: list[float] = []

        def kill() -> None:
            killed_at.append(time.monotonic())
            child.send_signal(signal.SIGKILL)

        timer = threading.Timer(1.5, kill)
        timer.start()
        with held(store, NAME, holder(), on_wait=lines.append, expiry_s=600):
            assert killed_at, "a living holder was taken over"
            assert time.monotonic() - killed_at[0] < 5
    assert len(lines) == 1
    who = f"digits-1a2b on host {os.uname().nodename}, process {child.pid}"
    assert lines[0].startswith(f"{who}, is working on this (since ")
    assert lines[0].endswith(" UTC); waiting for it to end")


def test_without_waiting_a_living_holder_is_a_conflict_at_once(store: LocalStore) -> None:
    with held(store, NAME, holder("digits-1a2b"), on_wait=never):
        before, start = store.list(NAME), time.monotonic()
        with pytest.raises(ConflictError) as caught, held(store, NAME, holder("b"), on_wait=never, wait=False):
            pytest.fail("two at once")
        assert time.monotonic() - start < 30
        assert store.list(NAME) == before, "the holder keeps it"
    assert caught.value.exit_code == 5
    assert re.match(r"digits-1a2b on host \S+, process \d+, is working on this", caught.value.cause)
    assert Term.WAIT in caught.value.remedy


def test_without_waiting_a_free_lease_and_that_of_an_ended_process_are_taken(store: LocalStore) -> None:
    store.put_if_absent(number(5), ended().to_bytes())
    for _ in range(2):
        with held(store, NAME, holder(), on_wait=never, wait=False):
            assert store.list(NAME)
    assert store.list(NAME) == []


@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_ends_the_wait_and_leaves_the_holder_alone(store: LocalStore) -> None:
    with held(store, NAME, holder(), on_wait=never):
        before = store.list(NAME)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt), held(store, NAME, holder("b"), on_wait=len, expiry_s=600):
            pytest.fail("two at once")
        assert time.monotonic() - start < 5
        assert store.list(NAME) == before


@pytest.mark.parametrize("after", ["nobody", "a dead holder"])
def test_of_sixteen_takers_one_is_in_at_a_time(store: LocalStore, after: str) -> None:
    if after == "a dead holder":
        store.put_if_absent(number(1), ended().to_bytes())
    inside: list[int] = []
    most: list[int] = []

    def take(taker: int) -> None:
        with held(store, NAME, holder(str(taker)), on_wait=len, beat_s=0.01, sleep=lambda _: time.sleep(0.002)):
            inside.append(taker)
            most.append(len(inside))
            time.sleep(0.03)
            inside.remove(taker)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, range(16)))
    assert most == [1] * 16
    assert store.list(NAME) == []


def test_a_taker_whose_view_is_old_does_not_join_the_present_holder(store: LocalStore) -> None:
    store.put_if_absent(number(1), ended().to_bytes())
    slow = Hooked(store)
    with contextlib.ExitStack() as present:

        def meanwhile() -> None:
            slow.before_put = lambda: None
            with held(store, NAME, holder("first"), on_wait=never):
                pass
            present.enter_context(held(store, NAME, holder("present"), on_wait=never))
            assert store.list(NAME) == [number(1)], "then this test shows nothing"

        slow.before_put = meanwhile
        lines: list[str] = []

        def told(line: str) -> None:
            lines.append(line)
            assert store.list(NAME) == [number(1)], "the present holder lost its object, or the taker left one"
            present.close()

        with held(slow, NAME, holder("slow"), on_wait=told):
            assert [line.split()[0] for line in lines] == ["present"]


def test_another_machines_holder_expires_by_the_waiters_clock(store: LocalStore) -> None:
    store.put_if_absent(number(7), elsewhere().to_bytes())
    fake, lines = FakeTime(), []

    def renewed(seconds: float) -> None:
        if int(seconds) % 5 == 0 and seconds <= 100:
            store.put_if_absent(number(7 + int(seconds) // 5), elsewhere().to_bytes())

    fake.on_tick = renewed
    with held(
        store, NAME, holder(), on_wait=lambda line: lines.append((fake.now, line)), clock=fake.clock, sleep=fake.sleep
    ):
        assert 1130 <= fake.now <= 1132
        assert store.list(NAME) == [number(28)]
    assert [when for when, _ in lines] == [1000, 1060, 1120]
    assert "far on host node7" in lines[0][1]


def test_a_damaged_lease_is_an_unknown_holders_and_expires(store: LocalStore) -> None:
    store.put_if_absent(number(3), b"\xff{")
    fake, lines = FakeTime(), []
    with held(store, NAME, holder(), on_wait=lines.append, clock=fake.clock, sleep=fake.sleep):
        assert 1030 <= fake.now <= 1032
    assert lines == ["another run is working on this; waiting for it to end"]
    assert store.list(NAME) == []


def test_a_holder_that_was_taken_over_stops_and_says_so_once(
    store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as first:
        first.enter_context(held(store, NAME, holder("a"), on_wait=never, beat_s=0.1))
        with held(store, NAME, holder("b"), on_wait=never, beat_s=60, expiry_s=0):
            await_true(lambda: bool(caplog.records))
            theirs = store.list(NAME)
            first.close()
            assert store.list(NAME) == theirs
            assert len(theirs) == 1
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{NAME}: another run took over this work; both go on, and the first result counts"
    ]
    assert store.list(NAME) == []


def test_the_higher_number_of_a_taker_that_gives_up_ends_no_lease(
    store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    hooked = Hooked(store)
    shown: list[str] = []

    def once(names: list[str]) -> list[str]:
        hooked.listed = lambda names: names
        shown.append(number(99))
        return [*names, number(99)]

    with held(hooked, NAME, holder(), on_wait=never, beat_s=0.02):
        hooked.listed = once
        await_true(lambda: bool(shown))
        reached = max(store.list(NAME))
        await_true(lambda: min(store.list(NAME), default="") > reached)
    assert caplog.records == []


def test_a_holder_that_was_taken_over_leaves_a_later_ones_object(store: LocalStore) -> None:
    with contextlib.ExitStack() as later:
        with held(store, NAME, holder("slow"), on_wait=never, beat_s=60):
            with held(store, NAME, holder("taker"), on_wait=never, beat_s=60, expiry_s=0):
                pass
            later.enter_context(held(store, NAME, holder("later"), on_wait=never, beat_s=60))
            assert store.list(NAME) == [number(1)], "then this test shows nothing"
        assert store.list(NAME) == [number(1)]


@pytest.mark.parametrize(("silent_s", "is_taken"), [(200, False), (400, True)])
def test_without_waiting_a_lost_machines_lease_is_taken_by_the_stores_clock(
    store: LocalStore, silent_s: float, is_taken: bool
) -> None:
    store.put_if_absent(number(5), elsewhere().to_bytes())
    then = time.time() - silent_s
    os.utime(store.root / number(5), (then, then))
    entered = contextlib.nullcontext() if is_taken else pytest.raises(ConflictError, match="no sign of life for 3 min")
    with entered, held(store, NAME, holder(), on_wait=never, wait=False):
        assert is_taken


@pytest.mark.parametrize("when", ["before_put", "after_put"])
def test_a_store_that_is_away_costs_one_warning(store: LocalStore, caplog: pytest.LogCaptureFixture, when: str) -> None:
    away = Hooked(store)
    failures: list[int] = []

    def fail() -> None:
        failures.append(1)
        raise StorageError("no answer", item="store")

    with held(away, NAME, holder(), on_wait=never, beat_s=0.02):
        setattr(away, when, fail)
        await_true(lambda: len(failures) >= 3)
        setattr(away, when, lambda: None)
        reached = max(store.list(NAME))
        await_true(lambda: min(store.list(NAME), default="") > reached)
    assert [record.message for record in caplog.records] == [
        f"{NAME}: the lease cannot be renewed (store: no answer); the work goes on"
    ]
    assert store.list(NAME) == []


def test_a_store_that_is_away_at_the_end_delays_nothing(store: LocalStore) -> None:
    away = Hooked(store)
    away.delete = _refuse  # type: ignore[attr-defined]
    with held(away, NAME, holder(), on_wait=never):
        pass
    assert len(store.list(NAME)) == 1


def _refuse(_: str) -> None:
    raise StorageError("no answer", item="store")


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease")]
