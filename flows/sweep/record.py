"""The record of a sweep in MLflow: a run with the table and the page, above the runs of the sweep.

A copy of what is not in the page's files stays beside them, from which `ddpm track flush` delivers the record later.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from flows.root import resolve_root
from flows.run_record import TRACKING
from flows.runtime.connections import open_tracker, process_tags
from flows.runtime.settings import RunSettings
from flows.sweep.files import FOLDER, lease_of
from flows.sweep.grid import combination_text, value_text
from flows.sweep.plan import SweepPlan
from flows.sweep.table import SweepTable
from infra.digests import canonical_json, sha256
from infra.errors import DdpmError, IntegrityError
from infra.record import TrackedRun
from infra.storage.store import Store
from infra.tracking.origin import origin_tags
from infra.tracking.tracker import Tracker

KIND = "sweep"
TAG = "ddpm.sweep"
_KEY_DIGITS = 20


@dataclass(frozen=True, kw_only=True)
class SweepTracking:
    """The record of the tracking of a sweep that has ended.

    Attributes:
        run: Its run as MLflow records it.
        experiment: MLflow's experiment.
        metrics: Its figures.
        tags: Its last tags.
        keys: The keys of the finished runs below it, by their names.
    """

    run: TrackedRun
    experiment: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    keys: Mapping[str, str]

    def write(self, store: Store) -> None:
        """Write it beside the sweep's page; equal records have equal bytes."""
        store.replace(tracking_path(self.run.name), json.dumps(asdict(self), indent=2, sort_keys=True).encode())

    @classmethod
    def read(cls, name: str, store: Store) -> Self | None:
        """Return that of a sweep; None if it has not ended, or was run without tracking.

        Raises:
            IntegrityError: If it is damaged.
        """
        path = tracking_path(name)
        try:
            values: dict[str, Any] = json.loads(store.read(path))
            return cls(run=TrackedRun(**values.pop("run")), **values)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError("is not a record of tracking", item=path, remedy="run the sweep again") from error


def member_tag(name: str) -> str:
    """Return the tag of the runs of a sweep; a run may be one of several sweeps."""
    return f"{TAG}.{name}"


def tracking_path(name: str) -> str:
    """Return the name of a sweep's record of tracking in the store."""
    return f"{FOLDER}/{name}/{TRACKING}"


class SweepRecord:
    """The record of one sweep; it does nothing if tracking is off, and never raises."""

    def __init__(self, tracker: Tracker, run: TrackedRun, experiment: str, store: Store) -> None:
        self._tracker, self._run, self._experiment, self._store = tracker, run, experiment, store
        self.is_stopped = False

    @classmethod
    def open(cls, plan: SweepPlan, settings: RunSettings, store: Store) -> "SweepRecord":
        """Return the record of a sweep, found again by its name and root."""
        grid = (f"{axis.path}={', '.join(map(value_text, axis.values))}" for axis in plan.axes)
        run = TrackedRun(
            key=sha256(canonical_json([store.uri, plan.name]))[:_KEY_DIGITS],
            name=plan.name,
            kind=KIND,
            # No params, which MLflow keeps for ever: a longer grid under the same name is the same sweep.
            tags={TAG: plan.name, "ddpm.grid": "; ".join(grid), "ddpm.seeds": ", ".join(plan.varied)},
        )
        tracker = open_tracker(settings.model_copy(update={"root": resolve_root(settings.root)}), store)
        return cls(tracker, run, settings.experiment, store)

    @property
    def complaint(self) -> str:
        """A line about what MLflow did not take; empty if there is nothing, or tracking is off."""
        return self._tracker.complaint if self._tracker.uri else ""

    def start(self) -> None:
        """Find or create the run, as running."""
        with suppress(DdpmError):  # the copy is of the sweep as it ended before
            self._store.delete(tracking_path(self._run.name))
        if self._tracker.uri:
            tags = process_tags(self._store, lease_of(self._run.name))
            self._run = replace(self._run, tags=self._run.tags | tags)
        self._tracker.connect()
        self._tracker.start(self._run)

    def adopt(self, keys: Sequence[str]) -> None:
        """Tag the runs of these keys with the sweep's name, and put those below it that are below no other run."""
        if keys:
            self._tracker.adopt(keys, {member_tag(self._run.name): self._run.name})

    def stop(self) -> None:
        """End the run as stopped."""
        self.is_stopped = True
        self._tracker.end("", "KILLED")

    def close(self, table: SweepTable, files: Mapping[str, bytes], keys: Mapping[str, str]) -> None:
        """Record the table, the page and the best row, and end the run.

        Args:
            table: The table.
            files: The sweep's files by name.
            keys: The keys of the finished runs, by their names.
        """
        metrics: dict[str, float] = {}
        tags: dict[str, str] = {"ddpm.best": table.note}
        if table.best is not None:
            row = table.rows[table.best]
            metrics = {
                f"best/{name}": row.measurements[name].value for name in table.figures if name in row.measurements
            }
            tags["ddpm.best_settings"] = combination_text(row.settings)
        if self._tracker.uri:
            run = replace(self._run, origin=origin_tags())
            with suppress(DdpmError):  # only a later delivery reads it
                SweepTracking(run=run, experiment=self._experiment, metrics=metrics, tags=tags, keys=dict(keys)).write(
                    self._store
                )
        self._tracker.close(metrics, dict(files), tags, step=len(keys))
