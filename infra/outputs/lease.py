"""An advisory lease in any store, so that one run at a time works on an output.

    <name>/000000000007.json    the object with the highest number names the holder

A holder puts the next number every few seconds and deletes its earlier ones. A waiter takes over by putting the next
number itself: at once if the holder is a process of this machine that has ended, otherwise after no new number has
appeared for a while by the waiter's own clock. Clocks of two machines are never compared.

For a run the lease only saves work. Outputs are committed put-if-absent, so two simultaneous holders duplicate work but
damage nothing. A removal would damage something, so it calls `Lease.confirm` before each deletion.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from infra.errors import ConflictError, DdpmError, Term
from infra.outputs.lease_holder import Holder
from infra.outputs.lease_watch import EXPIRY_S, LOOK_S, SILENCE_S, Entry, Watch, await_free, number_path, numbers
from infra.storage.store import Store

logger = logging.getLogger(__name__)

_RELEASE_S = 10.0
_SIGNS_OF_LOSS = 2  # because a taker that loses a race leaves a higher number for a moment
_PAUSE_S = 0.5
# Less than any expiry, and more than the time between two renewals, so that a confirmation rarely asks the store.
_FRESH_S = 15.0


@contextlib.contextmanager
def held(
    store: Store,
    name: str,
    holder: Holder,
    *,
    on_wait: Callable[[str], None],
    wait: bool = True,
    warn: bool = True,
    beat_s: float = 5.0,
    expiry_s: float = EXPIRY_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator["Lease"]:
    """Hold a lease during the block; wait for it first if another holder has it.

    If the store fails during the block, or if another holder takes over, one warning is logged and the block goes on.

    Args:
        store: The store that the lease is kept in.
        name: The lease's folder in the store.
        holder: This run; make a new `Holder` for each block.
        on_wait: Receives a line about the current holder, at once and then every minute.
        wait: Wait for another holder; if false, its presence is an error. A holder on another machine then counts as
            gone if the store saw no sign of it for `SILENCE_S`.
        warn: Log those warnings; if false, the block itself calls `Lease.confirm`.
        beat_s: Seconds between two renewals.
        expiry_s: Seconds without a renewal after which a waiter takes over; several times `beat_s`.
        clock: Returns seconds, for the expiry.
        sleep: Waits between two requests to the store.

    Raises:
        ConflictError: If another holder has it and `wait` is false.
        StorageError: If the store does not answer before the block begins.
    """
    lease, stop = Lease(store, name, holder), threading.Event()
    watch = Watch(store, name, expiry_s, clock) if wait else Watch(store, name, SILENCE_S, clock, since_put=True)

    def meet(line: str) -> None:
        if not wait:
            raise ConflictError(line, remedy=f"{Term.WAIT}, or run again when it has ended")
        on_wait(f"{line}; waiting for it to end")

    renewing = threading.Thread(
        target=_renew, args=(lease, stop, beat_s), kwargs={"warn": warn}, name=f"lease {name}", daemon=True
    )
    try:
        _acquire(lease, watch, meet, expiry_s, clock, sleep)
        renewing.start()
        yield lease
    finally:
        stop.set()
        if renewing.is_alive():
            renewing.join(_RELEASE_S)  # the thread releases the lease after its last request
        else:
            lease.release()


class Lease:
    """One holder's view of a lease: its own number, and the requests to the store."""

    def __init__(self, store: Store, name: str, holder: Holder) -> None:
        self.name = name
        self.holder = holder
        self._store = store
        self._data = holder.to_bytes()
        self._signs = 0
        self._mine: set[int] = set()
        self._renewed_at = _instants()
        self._lock = threading.Lock()

    def confirm(self) -> None:
        """Return if this holder still has the lease; it is renewed first unless that was done a moment ago.

        A process may be stopped, or its machine asleep, past the expiry. Work that must not go on then, such as a
        removal, calls this before each step; from any thread.

        Raises:
            ConflictError: If the lease is lost.
            StorageError: If the store does not answer.
        """
        while self._age_s() >= _FRESH_S:
            if not self.renew():
                raise ConflictError(
                    "stood still for so long that others took it for ended",
                    item=f"{self.holder.who}, process {self.holder.pid}",
                    remedy="run again",
                )
            if self._age_s() >= _FRESH_S:
                time.sleep(_PAUSE_S)  # after a first sign of loss; the second ends it

    def take(self, seen: Entry) -> bool:
        """Put the number after `seen`, whose holder is gone or gave up; False if another holder came first."""
        number, began_at = seen.number + 1, _instants()
        if not self._put(number):
            return False
        # `seen` may be out of date: others may since have taken the lease and even released it, which restarts the
        # numbers. Each taker puts first and looks afterwards, so of two takers at least one sees the other.
        others = self._numbers() - {number}
        if others and (max(others) != seen.number or not self._is(seen.number, seen.data)):
            self.release()
            return False
        for other in others:
            self._store.delete(self._path(other))
        self._renewed_at = began_at
        return True

    def renew(self) -> bool:
        """Put the next number and delete the earlier ones; False if the lease is lost."""
        with self._lock:
            if self._signs >= _SIGNS_OF_LOSS:
                return False
            began_at = _instants()
            highest = max(self._numbers(), default=0)
            if not (self._is(highest, self._data) and self._put(highest + 1)):
                self._signs += 1
                return self._signs < _SIGNS_OF_LOSS
            # Whoever takes this holder for ended deletes its object and looks afterwards; this puts first.
            if not self._delete(highest):
                self._signs = _SIGNS_OF_LOSS
                return False
            self._signs, self._renewed_at = 0, began_at
            for number in self._mine - {highest + 1}:
                self._delete(number)
            return True

    def release(self) -> None:
        """Delete this holder's objects; if the store fails, the lease expires."""
        with contextlib.suppress(DdpmError, OSError):
            for number in sorted(self._mine):
                self._delete(number)

    def _age_s(self) -> float:
        return max(now - then for now, then in zip(_instants(), self._renewed_at, strict=True))

    def _put(self, number: int) -> bool:
        self._mine.add(number)  # before the request, because a failed request may have been carried out
        done = self._store.put_if_absent(self._path(number), self._data)
        if not done:
            self._mine.discard(number)
        return done

    def _is(self, number: int, data: bytes) -> bool:
        try:
            return self._store.read(self._path(number)) == data
        except FileNotFoundError:
            return False

    def _delete(self, number: int) -> bool:
        """Delete an object of this holder; False if it is gone or another's."""
        is_mine = self._is(number, self._data)
        if is_mine:
            self._store.delete(self._path(number))
        self._mine.discard(number)
        return is_mine

    def _numbers(self) -> set[int]:
        return numbers(self._store, self.name)

    def _path(self, number: int) -> str:
        return number_path(self.name, number)


def _instants() -> tuple[float, float]:
    """Return seconds of two clocks: the first stands still while the machine sleeps, the second may be set back."""
    return time.monotonic(), time.time()


def _acquire(
    lease: Lease,
    watch: Watch,
    meet: Callable[[str], None],
    expiry_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    while True:
        await_free(watch, lease.holder, meet, expiry_s=expiry_s, clock=clock, sleep=sleep)
        if lease.take(watch.entry):
            return
        sleep(min(LOOK_S, expiry_s / 10))


def _renew(lease: Lease, stop: threading.Event, beat_s: float, *, warn: bool) -> None:
    warned = not warn
    while not stop.wait(beat_s):
        try:
            if not lease.renew():
                if warn:
                    logger.warning(
                        "%s: another run took over this work; both go on, and the first result counts", lease.name
                    )
                break
        except (DdpmError, OSError) as error:
            if not warned:
                logger.warning("%s: the lease cannot be renewed (%s); the work goes on", lease.name, error)
            warned = True
    lease.release()
