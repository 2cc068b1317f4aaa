"""Runs at work and a removal of outputs: whichever looks second sees the first, also after kills and elsewhere."""

import os
import threading
import time
from dataclasses import replace

import pytest

from infra.errors import ConflictError, Term
from infra.outputs.lease_holder import Holder
from infra.outputs.presence import LEASES, REMOVAL, WORK, at_work, ended_runs, removal, silent_leases
from infra.storage.local_store import LocalStore
from infra.storage.store import Store
from tests.faults.leases import Hooked, elsewhere, ended, holder, never

EXPIRY_S = 0.5


def announce(store: Store, run: Holder, number: int = 1) -> None:
    """Leave the announcement of a run without renewing it."""
    store.put_if_absent(f"{WORK}/{run.token}/{number:012}.json", run.to_bytes())


def age(store: LocalStore, folder: str, seconds: float) -> None:
    """Make the last change of every object in a folder so old."""
    for name in store.list(folder):
        then = time.time() - seconds
        os.utime(store.root / name, (then, then))


def test_a_removal_sees_the_runs_at_work_and_nothing_stays_behind(store: LocalStore) -> None:
    with (
        at_work(store, holder("digits"), on_wait=never),
        at_work(store, holder("photos"), on_wait=never),
        removal(store, holder("prune"), on_wait=never) as announced,
    ):
        assert [line.split()[0] for line in announced.runs] == ["digits", "photos"]
    with removal(store, holder("prune"), on_wait=never) as announced:
        assert announced.runs == []
    assert store.list(LEASES) == []


def test_an_equal_runs_lease_counts_too(store: LocalStore) -> None:
    store.put_if_absent(f"{LEASES}/0123456789/lease/{1:012}.json", holder("digits").to_bytes())
    with removal(store, holder("prune"), on_wait=never) as announced:
        assert len(announced.runs) == 1


def test_a_run_that_begins_during_a_removal_waits_for_its_end(store: LocalStore) -> None:
    began, lines = threading.Event(), []

    def run() -> None:
        with at_work(store, holder("digits"), on_wait=lines.append, expiry_s=60):
            began.set()

    thread = threading.Thread(target=run)
    with removal(store, holder("prune"), on_wait=never):
        thread.start()
        assert not began.wait(1.5)
    assert began.wait(10)
    thread.join(10)
    assert len(lines) == 1
    assert lines[0].startswith("prune on host ")
    assert lines[0].endswith("; waiting for it to end")


def test_without_waiting_a_removal_is_a_conflict(store: LocalStore) -> None:
    with (
        removal(store, holder("prune"), on_wait=never),
        pytest.raises(ConflictError, match=f"prune .* - {Term.WAIT}"),
        at_work(store, holder(), on_wait=never, wait=False),
    ):
        pytest.fail("it began")
    assert store.list(LEASES) == []


def test_there_is_one_removal_at_a_time(store: LocalStore) -> None:
    with (
        removal(store, holder("prune"), on_wait=never),
        pytest.raises(ConflictError, match=r"^prune on host "),
        removal(store, holder("second"), on_wait=never),
    ):
        pytest.fail("it began")


@pytest.mark.parametrize("first", ["run", "removal"])
def test_of_two_that_put_at_once_one_sees_the_other(store: LocalStore, first: str) -> None:
    """Each step of one comes between the put and the look of the other."""
    hooked = Hooked(store)
    seen: list[str] = []
    if first == "run":
        # The removal comes as a whole between the run's put and its look.
        def remove() -> None:
            hooked.after_put = lambda: None
            with removal(store, holder("prune"), on_wait=never) as announced:
                seen.extend(announced.runs)

        hooked.after_put = remove
        with at_work(hooked, holder("digits"), on_wait=never):
            assert [line.split()[0] for line in seen] == ["digits"]
        return

    def begin() -> None:
        hooked.after_put = lambda: None
        with (
            pytest.raises(ConflictError),
            at_work(store, holder("digits"), on_wait=never, wait=False),
        ):
            pytest.fail("it relies on an output that is about to be removed")

    hooked.after_put = begin
    with removal(hooked, holder("prune"), on_wait=never) as announced:
        assert announced.runs == []


def test_a_killed_run_is_forgotten_by_the_next_one(store: LocalStore) -> None:
    dead = ended()
    announce(store, dead)
    with removal(store, holder("prune"), on_wait=never) as announced:
        assert announced.runs == []
    assert ended_runs(store) == [f"{WORK}/{dead.token}/{1:012}.json"]
    with at_work(store, holder(), on_wait=never):
        assert ended_runs(store) == []
    assert store.list(LEASES) == []


def test_a_killed_removal_holds_nobody_up(store: LocalStore) -> None:
    store.put_if_absent(f"{REMOVAL}/{7:012}.json", ended().to_bytes())
    with at_work(store, holder(), on_wait=never):
        pass


@pytest.mark.parametrize(
    ("silent_s", "renews", "counts"),
    [(0, False, True), (200, False, True), (200, True, True), (400, True, True), (400, False, False)],
)
def test_a_run_elsewhere_counts_until_it_gave_no_sign_for_long(
    store: LocalStore, silent_s: float, renews: bool, counts: bool
) -> None:
    """A slow store may hold up a sign, and a clock may be wrong, so a sign now and an old one both count."""
    far, lines = elsewhere(), []
    announce(store, far, 1)
    age(store, WORK, silent_s)

    def pause(seconds: float) -> None:
        announce(store, far, 2 if renews else 1)
        time.sleep(seconds)

    with removal(store, holder("prune"), on_wait=lines.append, expiry_s=EXPIRY_S, sleep=pause) as announced:
        assert [line.split()[0] for line in announced.runs] == (["far"] if counts else [])
        if silent_s == 200 and not renews:
            assert announced.runs[0].endswith("; no sign of life for 3 min")
    assert len(lines) == 1
    assert "waiting 0.5 s at most for a sign of it" in lines[0]


def test_an_announcement_that_is_damaged_counts_until_it_expires(store: LocalStore) -> None:
    store.put_if_absent(f"{WORK}/token/{1:012}.json", b"{")
    for silent_s, runs in ((0, 1), (400, 0)):
        age(store, WORK, silent_s)
        lines: list[str] = []
        with removal(store, holder("prune"), on_wait=lines.append, expiry_s=EXPIRY_S) as announced:
            assert len(announced.runs) == runs
        assert len(lines) == 1


def test_leases_of_lost_machines_are_found_by_the_stores_clock(store: LocalStore) -> None:
    announce(store, elsewhere())
    announce(store, holder("stopped"))
    store.put_if_absent(f"{LEASES}/0123456789/lease/{1:012}.json", elsewhere().to_bytes())
    store.put_if_absent(f"{REMOVAL}/{1:012}.json", elsewhere().to_bytes())
    assert silent_leases(store) == []
    age(store, LEASES, 400)
    found = [one.name for one in silent_leases(store)]
    assert len(found) == 2, "a process of this machine lives, and a removal is no run"
    assert not any(name.startswith(REMOVAL) for name in found)


def test_two_machines_with_one_process_number_are_told_apart(store: LocalStore) -> None:
    announce(store, replace(holder("digits"), machine="another"))
    assert ended_runs(store) == [], "its process may live there"


@pytest.mark.parametrize("wait", [True, False])
def test_a_removal_that_was_killed_elsewhere_holds_up_one_run_once(store: LocalStore, wait: bool) -> None:
    """A machine that lost its power says nothing, so only time tells; its mark goes, and the next one waits no more."""
    store.put_if_absent(f"{REMOVAL}/{1:012}.json", elsewhere().to_bytes())
    with at_work(store, holder("digits"), on_wait=lambda _: None, wait=wait, expiry_s=EXPIRY_S):
        assert store.list(REMOVAL) == []
    with at_work(store, holder("digits"), on_wait=never, wait=wait, expiry_s=60):
        pass


def test_a_removal_takes_over_from_one_that_was_killed_elsewhere(store: LocalStore) -> None:
    store.put_if_absent(f"{REMOVAL}/{7:012}.json", elsewhere().to_bytes())
    with removal(store, holder("prune"), on_wait=lambda _: None, silence_s=EXPIRY_S) as announced:
        assert announced.runs == []
    assert store.list(LEASES) == []


def test_a_removal_that_gave_no_sign_for_long_holds_up_nobody(store: LocalStore) -> None:
    for _ in range(2):
        store.put_if_absent(f"{REMOVAL}/{7:012}.json", elsewhere().to_bytes())
        age(store, REMOVAL, 400)
        with at_work(store, holder("digits"), on_wait=never):
            assert store.list(REMOVAL) == []


def test_a_run_looks_again_after_it_took_a_removal_for_ended(store: LocalStore) -> None:
    """The removal was stopped, and goes on in the moment in which the run forgets it."""
    far, lines = elsewhere(), []
    store.put_if_absent(f"{REMOVAL}/{1:012}.json", far.to_bytes())
    age(store, REMOVAL, 400)

    class Late:
        """A store in which the removal renews its announcement just before the run deletes it."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def delete(self, name: str) -> None:
            if name == f"{REMOVAL}/{1:012}.json":
                store.put_if_absent(f"{REMOVAL}/{2:012}.json", far.to_bytes())
            store.delete(name)

    with (
        pytest.raises(ConflictError, match="far on host"),
        at_work(Late(), holder("digits"), on_wait=lines.append, wait=False),
    ):
        pytest.fail("it began while outputs are removed")
