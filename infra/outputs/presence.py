"""The runs at work below a root, and a removal of outputs: each knows of the other before it relies on an output.

    .leases/work/<token>/000000000007.json    a run at work; a lease of its own, see `infra.outputs.lease`
    .leases/removal/000000000007.json         a removal of outputs; one at a time

A run that finds an output sealed takes no lease of it, so a lease per output cannot protect it. Therefore a run
announces itself before it looks for any output, and a removal does so before it looks for runs. Each puts first and
looks afterwards, so at least one of the two sees the other: the run waits, or the removal leaves sealed outputs alone.

Either may be stopped, or have a slow store, and so give no sign although it lives. So each takes the other for ended
only after `SILENCE_S` without a sign, and a removal confirms its lease before each deletion.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infra.errors import ConflictError, Term
from infra.outputs.lease import Lease, held
from infra.outputs.lease_holder import Holder, parse_holder
from infra.outputs.lease_watch import EXPIRY_S, LOOK_S, SILENCE_S, Watch, await_free, number_path
from infra.storage.store import Store, StoredObject

LEASES = ".leases"
WORK = f"{LEASES}/work"
REMOVAL = f"{LEASES}/removal"


@dataclass(frozen=True, kw_only=True)
class Announced:
    """A removal of outputs that is announced.

    Attributes:
        runs: A line per run that is at work. While there is one, a sealed output may be in use.
        lease: The announcement; it is confirmed before each deletion.
    """

    runs: Sequence[str]
    lease: Lease


@contextlib.contextmanager
def at_work(
    store: Store,
    holder: Holder,
    *,
    on_wait: Callable[[str], None],
    wait: bool = True,
    expiry_s: float = SILENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Announce a run during the block; wait first until a removal of outputs has ended.

    Args:
        store: The store of all outputs.
        holder: This run; make a new `Holder` for each block.
        on_wait: Receives a line about the removal, at once and then every minute.
        wait: Wait for the removal; if false, it is an error.
        expiry_s: Seconds without a sign after which a removal on another machine counts as ended, by the store's clock.
        sleep: Waits between two requests to the store.

    Raises:
        ConflictError: If outputs are being removed and `wait` is false.
        StorageError: If the store does not answer.
    """

    def meet(line: str) -> None:
        if not wait:
            raise ConflictError(line, remedy=f"{Term.WAIT}, or run again when it has ended")
        on_wait(f"{line}; waiting for it to end")

    _forget_ended(store)
    with held(store, f"{WORK}/{holder.token}", holder, on_wait=on_wait, sleep=sleep):
        watch = Watch(store, REMOVAL, expiry_s, since_put=True)
        if not wait:
            _settle(watch, holder, on_wait, expiry_s, sleep)
        await_free(watch, holder, meet, expiry_s=expiry_s, sleep=sleep)
        while watch.entry.number:  # again, because a removal that was stopped may go on just now
            _forget(store, watch)
            await_free(watch, holder, meet, expiry_s=expiry_s, sleep=sleep)
        yield


@contextlib.contextmanager
def removal(
    store: Store,
    holder: Holder,
    *,
    on_wait: Callable[[str], None],
    expiry_s: float = EXPIRY_S,
    silence_s: float = SILENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Announced]:
    """Announce a removal of outputs during the block; runs that begin meanwhile wait for its end.

    Args:
        store: The store of all outputs.
        holder: This process; make a new `Holder` for each block.
        on_wait: Receives a line if it must wait to learn whether a run or a removal on another machine lives.
        expiry_s: Seconds to wait at most for a sign of a run on another machine.
        silence_s: Seconds without a sign, by the store's clock, after which either counts as ended.
        sleep: Waits between two requests to the store.

    Raises:
        ConflictError: If another removal is at work.
        StorageError: If the store does not answer.
    """
    watch = Watch(store, REMOVAL, silence_s, since_put=True)
    if not _settle(watch, holder, on_wait, silence_s, sleep):
        _forget(store, watch)
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(
                held(store, REMOVAL, holder, on_wait=on_wait, wait=False, warn=False, sleep=sleep)
            )
        except ConflictError as error:
            error.remedy = "run again when it has ended"
            raise
        runs = runs_at_work(store, holder, on_wait=on_wait, expiry_s=expiry_s, silence_s=silence_s, sleep=sleep)
        yield Announced(runs=runs, lease=lease)


def runs_at_work(
    store: Store,
    waiter: Holder,
    *,
    on_wait: Callable[[str], None],
    expiry_s: float = EXPIRY_S,
    silence_s: float = SILENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Return a line per run that is at work below a root; the arguments are those of `removal`.

    A holder on another machine may have ended without a trace, which only time tells. It counts as ended if it gives no
    sign during the wait and gave none for long, so neither a slow store nor a clock that is wrong makes it so.
    """
    watches = [Watch(store, name, silence_s, since_put=True) for name in _leases(store)]
    until, said = time.monotonic() + expiry_s, False
    while True:
        lines = [watch.look(waiter) for watch in watches]
        doubtful = [line for watch, line in zip(watches, lines, strict=True) if not watch.is_certain]
        if not doubtful or time.monotonic() >= until:
            return sorted({line for line in lines if line})
        if not said:
            who = max(doubtful) or "a run on another machine gave no sign of life for long"
            on_wait(f"{who}; waiting {expiry_s:g} s at most for a sign of it")
            said = True
        sleep(min(LOOK_S, expiry_s / 10))


def ended_runs(store: Store) -> list[str]:
    """Return the objects of runs of this machine that ended without a word, by their names in the store."""
    names = [name for name in store.list(WORK) if name.endswith(".json")]
    return [name for name in names if (holder := parse_holder(_read(store, name))) is not None and holder.is_gone]


def silent_leases(store: Store, silence_s: float = SILENCE_S) -> list[StoredObject]:
    """Return the objects of leases of runs elsewhere that gave no sign for so long, by the store's clock."""
    found = [one for one in store.objects(LEASES) if not one.name.startswith(f"{REMOVAL}/")]
    before_s = store.now_s() - silence_s if found else 0.0
    silent = [(one, parse_holder(_read(store, one.name))) for one in found if one.changed_s < before_s]
    return [one for one, holder in silent if holder is None or not holder.is_here]


def _settle(
    watch: Watch, waiter: Holder, on_wait: Callable[[str], None], expiry_s: float, sleep: Callable[[float], None]
) -> str:
    """Wait until it is certain whether a lease is held, `expiry_s` at most; return a line about its holder, or nothing.

    A holder on another machine, or before a restart of this one, may have ended without a trace.
    """
    said = False
    while (line := watch.look(waiter)) and not watch.is_certain:
        if not said:
            on_wait(f"{line}; waiting {expiry_s:g} s at most for a sign of it")
            said = True
        sleep(min(LOOK_S, expiry_s / 10))
    return line


def _forget(store: Store, watch: Watch) -> None:
    """Remove what the last holder of a removal left that ended without a word, so that nobody waits for it again."""
    left = number_path(REMOVAL, watch.entry.number)
    if watch.entry.number and _read(store, left) == watch.entry.data:
        store.delete(left)


def _forget_ended(store: Store) -> None:
    """Remove what runs of this machine left that were killed, because nobody takes over their leases."""
    for name in ended_runs(store):
        store.delete(name)


def _leases(store: Store) -> list[str]:
    """Return the leases of runs: their announcements, and those that equal runs wait for."""
    folders = {name.rpartition("/")[0] for name in store.list(LEASES) if name.endswith(".json")}
    return sorted(folders - {REMOVAL})


def _read(store: Store, name: str) -> bytes:
    try:
        return store.read(name)
    except FileNotFoundError:
        return b""
