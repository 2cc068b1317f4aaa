"""Late tracking: what MLflow misses of finished runs is delivered from their sealed outputs; nothing is computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from flows.account import Account
from flows.artifacts import Artifact, ReportPage
from flows.root import tracking_place
from flows.run_record import TRACKING, RunRecord, read_record, run_names
from flows.runtime.surroundings import LEASES
from flows.runtime.tracking_record import TrackingRecord, stage_params, stage_record
from flows.stage import Stage
from flows.stage_config import StageConfig
from infra.errors import ConflictError, DdpmError, IntegrityError, StorageError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.record import MeasuredModel, StageRecord
from infra.storage.store import Store
from infra.tracking.runs import PIPELINE_RUN
from infra.tracking.tracker import Tracker, files_digest

_UNTRACKED = "was run without tracking, or by an earlier version; its own command tracks it"
_DELETED = "was deleted in MLflow; its own command tracks it anew"


class Delivery(NamedTuple):
    """The outcome for one run.

    Attributes:
        name: The run's name.
        line: What was delivered, or why nothing was.
        error: The failure, if some of it could not be delivered.
    """

    name: str
    line: str
    error: DdpmError | None = None


def deliver_late(store: Store, stages: Sequence[Stage[Any, Any]]) -> Iterator[Delivery]:
    """Deliver to MLflow what it misses of each finished run below a root; yield the outcome of each run.

    A run is delivered while its lease is held, so neither its own command nor a second delivery works on it meanwhile.

    Args:
        store: The root.
        stages: The pipeline's stages.

    Raises:
        StorageError: If MLflow does not answer.
    """
    uri, folder = tracking_place(store.uri)
    names = run_names(store)
    if folder is not None and names:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            yield _deliver(name, store, stages, uri, folder)
        except ConflictError:
            yield Delivery(name, "is at work: its command, or another flush, delivers it")
        except IntegrityError as error:
            yield Delivery(name, "is not delivered", error)


def _deliver(name: str, store: Store, stages: Sequence[Stage[Any, Any]], uri: str, folder: Path | None) -> Delivery:
    tracking = TrackingRecord.read(name, store)
    if tracking is None:
        return Delivery(name, _UNTRACKED)
    holder = Holder.here(name, datetime.now(UTC))
    with held(store, f"{LEASES}/{tracking.run.key}/lease", holder, on_wait=lambda _: None, wait=False):
        sealed = _Sealed.read(read_record(name, store), tracking, store, stages)
        tracker = Tracker(uri, tracking.experiment, folder / "mlartifacts" if folder else None, is_late=True)
        missing = tracker.missing(tracking.run, sealed.digests, tracking.register_as)
        if missing.is_deleted:
            return Delivery(name, _DELETED)
        parts = [*missing.parts, *([] if missing.is_registered else ["registration"])]
        if not parts:
            return Delivery(name, "was there")
        _send(tracker, tracking, sealed, is_registered=missing.is_registered)
    if tracker.complaint:
        remedy = "run the same command again once it does"
        return Delivery(name, "is not delivered whole", StorageError(tracker.complaint, item=name, remedy=remedy))
    decision = tracker.take_decision()
    return Delivery(name, f"delivered: {', '.join(parts)}" + (f"; {decision}" if decision else ""))


def _send(tracker: Tracker, tracking: TrackingRecord, sealed: "_Sealed", *, is_registered: bool) -> None:
    """Deliver everything as the run itself would have done."""
    tracker.start(tracking.run)
    for stage, (config, record) in sealed.records.items():
        tracker.begin(stage, stage_params(stage, config))
        tracker.publish(stage, record)
    if sealed.measured is not None and not is_registered:
        tracker.register(tracking.register_as, tracking.champion_by, sealed.measured)
    tracker.close(sealed.closing.metrics, sealed.closing.files, sealed.closing.tags)


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    """The records of a finished run, made of its sealed outputs.

    Attributes:
        records: Each stage's settings and record, in order.
        closing: The account of the report.
        measured: The network with its figures, if a stage measured one.
    """

    records: dict[str, tuple[StageConfig | None, StageRecord]]
    closing: Account
    measured: MeasuredModel | None

    @property
    def digests(self) -> dict[str, str]:
        """The digests by which the server tells what it has."""
        digests = {stage: record.digest for stage, (_, record) in self.records.items()}
        return digests | {PIPELINE_RUN: files_digest(self.closing.files)}

    @classmethod
    def read(
        cls, run: RunRecord, tracking: TrackingRecord, store: Store, stages: Sequence[Stage[Any, Any]]
    ) -> "_Sealed":
        """Make the records.

        Raises:
            DdpmError: If an output is damaged or was removed, or a setting is none of this version.
        """
        finished: dict[type, Any] = {type(one): one for one in vars(run.finished).values()}
        finished[ReportPage] = ReportPage(folder=run.folder)
        kinds = {stage.name: stage.artifact for stage in stages}
        records: dict[str, tuple[StageConfig | None, StageRecord]] = {}
        closing = Account(line="")
        for stage in stages:
            config = _config(stage, tracking, f"{run.folder}/{TRACKING}")
            artifact, inputs = finished[stage.artifact], [finished[kinds[name]] for name in stage.inputs]
            if stage.ends_run:
                closing = stage.account(config, artifact, inputs, store)
            elif stage.name in tracking.stages and isinstance(artifact, Artifact):
                account = stage.account(config, artifact, inputs, store)
                records[stage.name] = config, stage_record(artifact, account, config, store)
        measured = [record.measured for _, record in records.values() if record.measured is not None]
        return cls(records=records, closing=closing, measured=measured[-1] if measured else None)


def _config(stage: Stage[Any, Any], tracking: TrackingRecord, item: str) -> StageConfig | None:
    """Return a stage's settings; None if it has none.

    Raises:
        IntegrityError: If they are none of this version.
    """
    values = tracking.stages.get(stage.name)
    if values is None or stage.config is type(None):
        return None
    try:
        config: StageConfig = stage.config(**values)
    except ValueError as error:
        cause = f"settings that this version does not know ({str(error).splitlines()[-1].strip()})"
        raise IntegrityError(cause, item=item, remedy="run its own command again") from error
    return config
