"""A lease as others see it: its objects, its holder, and the wait until nobody holds it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.outputs.lease_holder import Holder, parse_holder
from infra.storage.store import Store

EXPIRY_S = 30.0
# By the store's clock. A renewal is three requests, and a slow store may hold up each for 80 s (`Limits`), so a holder
# that lives gives a sign within this time. Two runs at once only duplicate work; a removal must not guess.
SILENCE_S = 300.0
LOOK_S = 1.0
_NUMBER = re.compile(r"(\d{12,})\.json")
_UNKNOWN = "another run is working on this"
_NOTICE_S = 60.0
_MINUTE_S = 60.0


@dataclass(frozen=True)
class Entry:
    """The highest object of a lease as a waiter saw it; number 0 if there is none."""

    number: int
    data: bytes = b""


class Watch:
    """Looks at a lease again and again, to learn whether its holder is still there.

    Args:
        store: The store that the lease is kept in.
        name: The lease's folder in the store.
        expiry_s: Seconds without a renewal after which a holder on another machine counts as gone.
        clock: Returns seconds, for the expiry.
        since_put: Count them from the last renewal by the store's clock; if false, from the first look.

    Attributes:
        entry: The latest look.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        expiry_s: float = EXPIRY_S,
        clock: Callable[[], float] = time.monotonic,
        *,
        since_put: bool = False,
    ) -> None:
        self.entry = Entry(0)
        self._store, self._name, self._expiry_s, self._clock = store, name, expiry_s, clock
        self._since_put = since_put
        self._changed_at, self._changes = clock(), 0

    def look(self, waiter: Holder) -> str:
        """Return a line about the holder for `waiter`; empty if the lease is free."""
        entry, now = look(self._store, self._name), self._clock()
        holder = parse_holder(entry.data)
        if entry != self.entry:
            self.entry, self._changed_at = entry, now
            self._changes += 1
            if self._since_put and self._changes == 1 and not (holder is not None and holder.is_here):
                self._changed_at -= _silence_s(self._store, self._name, entry)
        is_gone = holder is not None and holder.is_gone
        silence_s = now - self._changed_at
        if entry.number == 0 or is_gone or silence_s >= self._expiry_s:
            return ""
        line = holder.notice_to(waiter) if holder is not None else _UNKNOWN
        silent = self._since_put and silence_s >= _MINUTE_S and not (holder is not None and holder.is_here)
        return f"{line}; no sign of life for {silence_s // _MINUTE_S:.0f} min" if silent else line

    @property
    def is_certain(self) -> bool:
        """True if no further look is needed to know whether somebody has it.

        Nobody has, or the process of its holder lives or ended on this machine, or the holder renewed it meanwhile.
        """
        holder = parse_holder(self.entry.data)
        is_known = holder is not None and (holder.is_here or holder.is_gone)
        return self.entry.number == 0 or self._changes > 1 or is_known


def await_free(
    watch: Watch,
    waiter: Holder,
    on_wait: Callable[[str], None],
    *,
    expiry_s: float = EXPIRY_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until nobody holds a lease; `on_wait` receives a line about the holder, at once and then every minute."""
    notice_at = clock()
    while line := watch.look(waiter):
        if clock() >= notice_at:
            on_wait(line)
            notice_at = clock() + _NOTICE_S
        sleep(min(LOOK_S, expiry_s / 10))


def look(store: Store, name: str) -> Entry:
    """Return the highest object of a lease."""
    number = max(numbers(store, name), default=0)
    if number == 0:
        return Entry(0)
    try:
        return Entry(number, store.read(number_path(name, number)))
    except FileNotFoundError:  # the holder has just renewed or released it
        return look(store, name)


def _silence_s(store: Store, name: str, entry: Entry) -> float:
    """Return the seconds since an object of a lease was put, by the store's clock; 0 if it is gone by now."""
    path = number_path(name, entry.number)
    put_s = next((one.changed_s for one in store.objects(name) if one.name == path), None)
    return 0.0 if put_s is None else max(store.now_s() - put_s, 0.0)


def numbers(store: Store, name: str) -> set[int]:
    """Return the numbers of a lease's objects."""
    found = (path.removeprefix(f"{name}/") for path in store.list(name))
    return {int(match[1]) for match in map(_NUMBER.fullmatch, found) if match}


def number_path(name: str, number: int) -> str:
    """Return the name of a lease's object in the store."""
    return f"{name}/{number:012}.json"
