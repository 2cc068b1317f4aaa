"""A lease is looked at without being taken."""

from infra.outputs.lease_watch import Watch, await_free, look, number_path, numbers
from infra.storage.local_store import LocalStore
from tests.faults.leases import NAME, FakeTime, elsewhere, ended, holder, never, number


def test_the_highest_object_counts(store: LocalStore) -> None:
    assert look(store, NAME).number == 0
    store.put_if_absent(number(9), b"nine")
    store.put_if_absent(number(10), b"ten")
    store.put_if_absent(f"{NAME}/notes.txt", b"")
    assert numbers(store, NAME) == {9, 10}
    assert look(store, NAME).data == b"ten"
    assert number_path(NAME, 10) == number(10)


def test_a_holder_elsewhere_is_there_until_it_gives_no_sign(store: LocalStore) -> None:
    time, far, me = FakeTime(), elsewhere(), holder()
    store.put_if_absent(number(1), far.to_bytes())
    watch = Watch(store, NAME, expiry_s=30, clock=time.clock)
    assert watch.look(me).startswith("far on host node7")
    assert not watch.is_certain
    time.sleep(29)
    store.put_if_absent(number(2), far.to_bytes())
    assert watch.look(me)
    assert watch.is_certain, "it renewed"
    time.sleep(29)
    assert watch.look(me)
    time.sleep(2)
    assert watch.look(me) == ""
    assert numbers(store, NAME) == {1, 2}, "nothing was taken"


def test_a_process_of_this_machine_is_known_at_once(store: LocalStore) -> None:
    me = holder()
    store.put_if_absent(number(1), holder("digits").to_bytes())
    watch = Watch(store, NAME)
    assert watch.look(me).startswith("digits on host")
    assert watch.is_certain
    store.put_if_absent(number(2), ended().to_bytes())
    assert watch.look(me) == ""


def test_waiting_says_for_whom_every_minute(store: LocalStore) -> None:
    time, lines = FakeTime(), []
    living = holder("digits").to_bytes()
    store.put_if_absent(number(1), living)
    time.on_tick = lambda passed: store.delete(number(1)) if passed > 100 else None
    watch = Watch(store, NAME, 600, time.clock)
    await_free(watch, holder(), lines.append, expiry_s=600, clock=time.clock, sleep=time.sleep)
    assert len(lines) == 2
    await_free(watch, holder(), never, clock=time.clock, sleep=time.sleep)
