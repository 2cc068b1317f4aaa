"""Many small objects are read at a time; what the time does not suffice for is left out, and nothing fails."""

import threading
import time
from itertools import count

from infra.errors import StorageError
from infra.outputs.reading import READERS, read_within
from infra.storage.local_store import LocalStore

NAMES = [f"a/{number:03d}" for number in range(100)]


class Slow(LocalStore):
    """A store whose every read takes 40 ms, as on S3."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        time.sleep(0.04)
        return super().read(name, start, length)


def put(store: LocalStore) -> None:
    for name in NAMES:
        store.put_if_absent(name, name.encode())


def test_what_would_take_four_seconds_one_by_one_is_read_within_one(store: LocalStore) -> None:
    put(store)
    found = read_within(Slow(store.root), NAMES, 1.0)
    assert found == {name: name.encode() for name in NAMES}
    assert list(found) == NAMES


def test_the_first_are_read_before_the_time_is_over(store: LocalStore) -> None:
    put(store)
    ticks, lock = count(), threading.Lock()

    def clock() -> float:
        with lock:
            return next(ticks)

    found = read_within(store, NAMES, 40.0, clock)
    assert list(found) == NAMES[:40], "a read per tick"


def test_an_object_that_is_gone_has_no_bytes(store: LocalStore) -> None:
    store.put_if_absent("a/000", b"x")
    assert read_within(store, ["a/000", "a/001"], 1.0) == {"a/000": b"x", "a/001": b""}


def test_a_store_that_fails_is_asked_no_further(store: LocalStore) -> None:
    asked = []

    class Away(LocalStore):
        def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            asked.append(name)
            raise StorageError("does not answer")

    assert read_within(Away(store.root), NAMES, 1.0) == {}
    assert len(asked) <= READERS
