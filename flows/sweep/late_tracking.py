"""Late tracking of sweeps: what MLflow misses of those that have ended is delivered from their files."""

from collections.abc import Iterator, Set
from datetime import UTC, datetime

from flows.root import tracking_place
from flows.runtime.late_tracking import Delivery
from flows.sweep.files import FOLDER, lease_of
from flows.sweep.record import SweepTracking, member_tag, tracking_path
from infra.errors import ConflictError, IntegrityError, StorageError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.storage.store import Store
from infra.tracking.tracker import Tracker, files_digest

_DELETED = "was deleted in MLflow; its own command tracks it anew"


def deliver_sweeps(store: Store, delivered: Set[str]) -> Iterator[Delivery]:
    """Deliver to MLflow what it misses of each sweep below a root that has ended; yield the outcome of each.

    Args:
        store: The root.
        delivered: The names of the runs of which something was just delivered; their sweeps tag them.

    Raises:
        StorageError: If MLflow does not answer.
    """
    for name in sorted({path.split("/")[1] for path in store.list(FOLDER)}):
        try:
            tracking = SweepTracking.read(name, store)
            if tracking is not None:
                yield _deliver(tracking, store, delivered)
        except ConflictError:
            yield Delivery(name, "is at work: its command, or another flush, delivers it")
        except IntegrityError as error:
            yield Delivery(name, "is not delivered", error)


def _deliver(tracking: SweepTracking, store: Store, delivered: Set[str]) -> Delivery:
    run = tracking.run
    uri, folder = tracking_place(store.uri)
    tracker = Tracker(uri, tracking.experiment, folder / "mlartifacts" if folder else None, is_late=True)
    with held(store, lease_of(run.name), Holder.here(run.name, datetime.now(UTC)), on_wait=lambda _: None, wait=False):
        files = _files(run.name, store)
        missing = tracker.missing(run, {run.kind: files_digest(files)}, "")
        if missing.is_deleted:
            return Delivery(run.name, _DELETED)
        if not missing.parts and not delivered & tracking.keys.keys():
            return Delivery(run.name, "was there")
        tracker.start(run)
        tracker.adopt(list(tracking.keys.values()), {member_tag(run.name): run.name})
        tracker.close(dict(tracking.metrics), files, dict(tracking.tags), step=len(tracking.keys))
    if tracker.complaint:
        remedy = "run the same command again once it does"
        return Delivery(
            run.name, "is not delivered whole", StorageError(tracker.complaint, item=run.name, remedy=remedy)
        )
    return Delivery(run.name, "delivered: sweep")


def _files(name: str, store: Store) -> dict[str, bytes]:
    """Return the files of a sweep that MLflow gets, by their names.

    Raises:
        IntegrityError: If one is removed meanwhile.
    """
    inside = [path for path in store.list(f"{FOLDER}/{name}") if path.count("/") == 2 and path != tracking_path(name)]
    try:
        return {path.rpartition("/")[2]: store.read(path) for path in inside}
    except FileNotFoundError as error:
        raise IntegrityError("is missing", item=str(error), remedy="run the sweep again") from error
