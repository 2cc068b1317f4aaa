"""Late tracking: what MLflow misses of finished runs is delivered from their sealed outputs; nothing is computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from flows.account import Account
from flows.artifacts import ReportPage
from flows.root import tracking_place, writing_locally
from flows.run_record import TRACKING, RunRecord, read_record, run_names
from flows.runtime.tracking_record import TrackingRecord, description, stage_params, stage_record
from flows.stage import Stage
from flows.stage_config import StageConfig
from infra.errors import ConflictError, DdpmError, IntegrityError, StorageError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.outputs.presence import LEASES
from infra.storage.store import Store
from infra.tracking.runs import PIPELINE_RUN, Missing
from infra.tracking.tracker import Tracker, files_digest

_UNTRACKED = "was run without tracking, or by an earlier version; its own command tracks it"
_DELETED = "was deleted in MLflow; its own command tracks it anew"


class Delivery(NamedTuple):
    """The outcome for one run.

    Attributes:
        name: The run's name.
        line: What was delivered, or why nothing was.
        error: The failure, if some of it could not be delivered.
        is_new: Whether anything was delivered.
    """

    name: str
    line: str
    error: DdpmError | None = None
    is_new: bool = False


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
        with writing_locally(store.uri):
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
    finished = _Finished(run=read_record(name, store), tracking=tracking, store=store, stages=stages)
    tracker = Tracker(uri, tracking.experiment, folder / "mlartifacts" if folder else None, is_late=True)
    missing = tracker.missing(tracking.run, finished.digests(), tracking.register_as)
    if missing.is_deleted:
        return Delivery(name, _DELETED)
    parts = [*missing.parts, *([] if missing.is_registered else ["registration"])]
    if not parts:
        return Delivery(name, "was there")
    holder = Holder.here(name, datetime.now(UTC))
    with held(store, f"{LEASES}/{tracking.run.key}/lease", holder, on_wait=lambda _: None, wait=False):
        _send(tracker, finished, missing)
    if tracker.complaint:
        remedy = "run the same command again once it does"
        return Delivery(name, "is not delivered whole", StorageError(tracker.complaint, item=name, remedy=remedy))
    decision = tracker.take_decision()
    line = f"delivered: {', '.join(parts)}" + (f"; {decision}" if decision else "")
    return Delivery(name, line, is_new=True)


def _send(tracker: Tracker, finished: "_Finished", missing: Missing) -> None:
    """Deliver what is missing, as the run itself would have done."""
    tracking = finished.tracking
    accounts = {
        stage.name: finished.account(stage)
        for stage in finished.tracked_stages()
        if stage.name in missing.parts or not missing.is_registered
    }
    tracker.start(tracking.run)
    for stage in finished.tracked_stages():
        if stage.name in missing.parts:
            config, artifact = finished.config(stage), finished.artifact(stage)
            tracker.begin(stage.name, stage_params(stage.name, config))
            record = stage_record(artifact, accounts[stage.name], config, finished.store)
            tracker.publish(stage.name, replace(record, metrics=record.metrics | finished.costs(stage.name)))
    if not missing.is_registered:
        for account in accounts.values():
            if account.measured is not None:
                tracker.register(tracking.register_as, tracking.champion_by, account.measured)
    closing = finished.closing
    note = description(closing.links, finished.run.elsewhere)
    spent = finished.costs(*finished.run.costs)
    tracker.close(closing.metrics | spent, closing.files, closing.tags, note)


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A finished run, read from what it sealed as far as somebody asks.

    Attributes:
        run: Its record.
        tracking: The record of how it was tracked.
        store: The store that holds it.
        stages: The pipeline's stages.
    """

    run: RunRecord
    tracking: TrackingRecord
    store: Store
    stages: Sequence[Stage[Any, Any]]

    def tracked_stages(self) -> list[Stage[Any, Any]]:
        """Return the stages that have a run of their own in MLflow."""
        return [stage for stage in self.stages if stage.name in self.tracking.stages and not stage.ends_run]

    def artifact(self, stage: Stage[Any, Any]) -> Any:  # noqa: ANN401 - of the stage's own kind
        """Return a stage's sealed output, or the page."""
        kinds = {type(one): one for one in vars(self.run.finished).values()}
        return ReportPage(folder=self.run.folder) if stage.ends_run else kinds[stage.artifact]

    def costs(self, *stages: str) -> dict[str, float]:
        """Return the costs of stages as metrics; those that nobody measured are left out."""
        known = (self.run.costs[stage] for stage in stages if stage in self.run.costs)
        return {name: value for cost in known for name, value in cost.metrics.items()}

    def digests(self) -> dict[str, str]:
        """Return the digests by which the server tells what it has."""
        sealed = {stage.name: self.artifact(stage).digest for stage in self.tracked_stages()}
        return sealed | {PIPELINE_RUN: files_digest(self.closing.files)}

    @cached_property
    def closing(self) -> Account:
        """The account of the page, which closes the run."""
        (last,) = (stage for stage in self.stages if stage.ends_run)
        return self.account(last)

    def account(self, stage: Stage[Any, Any]) -> Account:
        """Return a stage's account of its output.

        Raises:
            IntegrityError: If an output is damaged or was removed, or a setting is none of this version.
        """
        by_name = {each.name: each for each in self.stages}
        inputs = [self.artifact(by_name[name]) for name in stage.inputs]
        try:
            return stage.account(self.config(stage), self.artifact(stage), inputs, self.store)
        except FileNotFoundError as error:
            raise IntegrityError("is missing", item=str(error), remedy="run its own command again") from error

    def config(self, stage: Stage[Any, Any]) -> StageConfig | None:
        """Return a stage's settings; None if it has none.

        Raises:
            IntegrityError: If they are none of this version.
        """
        values = self.tracking.stages.get(stage.name)
        if values is None:
            return None
        try:
            config: StageConfig = stage.config(**values)
        except ValueError as error:
            raise IntegrityError(
                f"settings that this version does not know ({str(error).splitlines()[-1].strip()})",
                item=f"{self.run.folder}/{TRACKING}",
                remedy="run its own command again",
            ) from error
        return config
