"""The runs at work below a root, and a removal of outputs: each knows of the other before it relies on an output.

    .leases/work/<token>/000000000007.json    a run at work; a lease of its own, see `infra.outputs.lease`
    .leases/removal/000000000007.json         a removal of outputs; one at a time

A run that finds an output sealed takes no lease of it, so a lease per output cannot protect it. Therefore a run
announces itself before it looks for any output, and a removal does so before it looks for runs. Each puts first and
looks afterwards, so at least one of the two sees the other: the run waits, or the removal leaves sealed outputs alone.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from infra.errors import ConflictError, Term
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder, parse_holder
from infra.outputs.lease_watch import EXPIRY_S, LOOK_S, Watch, await_free, number_path
from infra.storage.store import Store

LEASES = ".leases"
WORK = f"{LEASES}/work"
REMOVAL = f"{LEASES}/removal"


@contextlib.contextmanager
def at_work(
    store: Store,
    holder: Holder,
    *,
    on_wait: Callable[[str], None],
    wait: bool = True,
    expiry_s: float = EXPIRY_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Announce a run during the block; wait first until a removal of outputs has ended.

    Args:
        store: The store of all outputs.
        holder: This run; make a new `Holder` for each block.
        on_wait: Receives a line about the removal, at once and then every minute.
        wait: Wait for the removal; if false, it is an error.
        expiry_s: Seconds without a sign after which a removal on another machine counts as ended.
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
    with held(store, f"{WORK}/{holder.token}", holder, on_wait=on_wait, expiry_s=expiry_s, sleep=sleep):
        watch = Watch(store, REMOVAL, expiry_s)
        if not wait:
            _settle(watch, holder, expiry_s, sleep)
        await_free(watch, holder, meet, expiry_s=expiry_s, sleep=sleep)
        _forget(store, watch)
        yield


@contextlib.contextmanager
def removal(
    store: Store,
    holder: Holder,
    *,
    on_wait: Callable[[str], None],
    expiry_s: float = EXPIRY_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[str]]:
    """Announce a removal of outputs during the block; runs that begin meanwhile wait for its end.

    Args:
        store: The store of all outputs.
        holder: This process; make a new `Holder` for each block.
        on_wait: Receives a line if it must wait, `expiry_s` at most, to learn whether a run on another machine lives.
        expiry_s: Seconds without a sign after which a run on another machine counts as ended.
        sleep: Waits between two requests to the store.

    Yields:
        A line per run that is at work. While there is one, a sealed output may be in use.

    Raises:
        ConflictError: If another removal is at work.
        StorageError: If the store does not answer.
    """
    watch = Watch(store, REMOVAL, expiry_s)
    if not _settle(watch, holder, expiry_s, sleep):
        _forget(store, watch)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                held(store, REMOVAL, holder, on_wait=on_wait, wait=False, expiry_s=expiry_s, sleep=sleep)
            )
        except ConflictError as error:
            error.remedy = "run again when it has ended"
            raise
        yield runs_at_work(store, holder, on_wait=on_wait, expiry_s=expiry_s, sleep=sleep)


def runs_at_work(
    store: Store,
    waiter: Holder,
    *,
    on_wait: Callable[[str], None],
    expiry_s: float = EXPIRY_S,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Return a line per run that is at work below a root; the arguments are those of `removal`.

    A holder on another machine may have ended without a trace, which only time tells.
    """
    watches = [Watch(store, name, expiry_s) for name in _leases(store)]
    said = False
    while True:
        lines = [(watch, watch.look(waiter)) for watch in watches]
        doubtful = [line for watch, line in lines if line and not watch.is_certain]
        if not doubtful:
            return sorted({line for _, line in lines if line})
        if not said:
            on_wait(f"{doubtful[0]}; waiting {expiry_s:g} s at most for a sign of it")
            said = True
        sleep(min(LOOK_S, expiry_s / 10))


def ended_runs(store: Store) -> list[str]:
    """Return the objects of runs of this machine that ended without a word, by their names in the store."""
    names = [name for name in store.list(WORK) if name.endswith(".json")]
    return [name for name in names if (holder := parse_holder(_read(store, name))) is not None and holder.is_gone]


def _settle(watch: Watch, waiter: Holder, expiry_s: float, sleep: Callable[[float], None]) -> str:
    """Wait until it is certain whether a lease is held, `expiry_s` at most; return a line about its holder, or nothing.

    A holder on another machine, or before a restart of this one, may have ended without a trace.
    """
    while (line := watch.look(waiter)) and not watch.is_certain:
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
