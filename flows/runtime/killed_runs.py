"""Killed runs: those that MLflow still shows as running end there, since nobody else is left to say so."""

from collections.abc import Iterator, Set
from datetime import UTC, datetime
from pathlib import Path

from flows.root import known_root, tracking_place
from flows.runtime.late_tracking import Delivery
from infra.errors import ConflictError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.storage.store import Store
from infra.tracking.environment import set_environment


def end_killed(store: Store, said: Set[str]) -> Iterator[Delivery]:
    """End each run below a root whose process was killed; yield the outcome of each run that MLflow shows as running.

    A process that lives holds the run's lease. One of another machine counts as gone after five minutes without a sign.

    Args:
        store: The root.
        said: The names of runs of which the outcome is said already, so that their being at work is not said again.

    Raises:
        StorageError: If MLflow does not answer.
    """
    uri, folder = tracking_place(store.uri)
    if folder is not None and not Path(uri.removeprefix("sqlite:///")).is_file():
        return
    root = known_root(store)
    if not root:
        return
    set_environment()
    from infra.tracking.unended import UnendedRuns

    unended = UnendedRuns(uri)
    for run in unended.below(root):
        holder = Holder.here(run.name, datetime.now(UTC))
        try:
            with held(store, run.lease, holder, on_wait=lambda _: None, wait=False):
                is_new = unended.end_as_killed(run)
        except ConflictError:
            if run.name not in said:
                yield Delivery(run.name, "is at work, or its machine was lost less than five minutes ago")
            continue
        if is_new:
            yield Delivery(run.name, "ended as killed: its process is gone; its own command goes on with it")
