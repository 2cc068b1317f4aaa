"""Reads many small objects at a time until a time is over, for remarks that must hold up nothing."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from infra.errors import DdpmError
from infra.storage.store import Store

READERS = 16


def read_within(
    store: Store, names: Sequence[str], seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, bytes]:
    """Return the bytes of the objects that were read in time, by name and in order; no more are begun if a read fails.

    Args:
        store: The store.
        names: The names of the objects, the most important first; one that is gone has no bytes.
        seconds: The time after which no read is begun.
        clock: Returns seconds from any origin, from any thread.
    """
    until, failed = clock() + seconds, threading.Event()

    def read(name: str) -> bytes | None:
        if failed.is_set() or clock() > until:
            return None
        try:
            return store.read(name)
        except FileNotFoundError:
            return b""
        except (DdpmError, OSError):  # because a remark must not fail a run
            failed.set()
            return None

    with ThreadPoolExecutor(READERS) as pool:
        read_in_time = pool.map(read, names)
        return {name: data for name, data in zip(names, read_in_time, strict=True) if data is not None}
