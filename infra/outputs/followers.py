"""The runs that follow one job, so that none of them ends it for the others.

    .leases/jobs/<job>/<token>/000000000007.json    a run that follows the job; a lease of its own, see
                                                    `infra.outputs.lease`

A run that leaves withdraws first and looks afterwards, so of several that leave at once at least one sees nobody.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from infra.outputs.lease import Lease, held
from infra.outputs.lease_holder import Holder
from infra.outputs.lease_watch import EXPIRY_S, Watch
from infra.outputs.presence import LEASES
from infra.storage.store import Store

_JOBS = f"{LEASES}/jobs"


def following(
    store: Store, job: str, holder: Holder, *, on_wait: Callable[[str], None]
) -> AbstractContextManager[Lease]:
    """Announce during the block that a run follows a job.

    Args:
        store: The store of all outputs.
        job: The job's id.
        holder: The run; make a new `Holder` for each block.
        on_wait: Receives a line if the store lets it wait for an earlier block of this holder.

    Raises:
        StorageError: If the store does not answer before the block begins.
    """
    return held(store, f"{_JOBS}/{job}/{holder.token}", holder, on_wait=on_wait, warn=False)


def followers(
    store: Store, job: str, waiter: Holder, expiry_s: float = EXPIRY_S, *, own: Collection[Holder] = ()
) -> list[str]:
    """Return a line per other run that follows a job.

    Args:
        store: The store of all outputs.
        job: The job's id.
        waiter: The run that asks.
        expiry_s: Seconds without a sign, by the store's clock, after which a run on another machine counts as ended.
        own: The holders with which that run has followed jobs; a lease that it failed to delete does not count.

    Raises:
        StorageError: If the store does not answer.
    """
    names = store.list(f"{_JOBS}/{job}")
    folders = sorted({name.rpartition("/")[0] for name in names if name.endswith(".json")})
    mine = {f"{_JOBS}/{job}/{holder.token}" for holder in own}
    watches = [Watch(store, folder, expiry_s, since_put=True) for folder in folders if folder not in mine]
    return [line for watch in watches if (line := watch.look(waiter))]
