"""The record of a sweep in MLflow: a run with the table and the page, above the runs of the sweep."""

from collections.abc import Mapping, Sequence

from flows.root import resolve_root
from flows.runtime.connections import open_tracker
from flows.runtime.settings import RunSettings
from flows.sweep.grid import combination_text, value_text
from flows.sweep.plan import SweepPlan
from flows.sweep.table import SweepTable
from infra.digests import canonical_json, sha256
from infra.record import TrackedRun
from infra.storage.store import Store
from infra.tracking.tracker import Tracker

KIND = "sweep"
TAG = "ddpm.sweep"
_KEY_DIGITS = 20


class SweepRecord:
    """The record of one sweep; it does nothing if tracking is off, and never raises."""

    def __init__(self, tracker: Tracker, run: TrackedRun) -> None:
        self._tracker, self._run = tracker, run

    @classmethod
    def open(cls, plan: SweepPlan, settings: RunSettings, store: Store) -> "SweepRecord":
        """Return the record of a sweep, found again by its name and root."""
        params = {f"grid.{axis.path}": ", ".join(map(value_text, axis.values)) for axis in plan.axes}
        run = TrackedRun(
            key=sha256(canonical_json([store.uri, plan.name]))[:_KEY_DIGITS],
            name=plan.name,
            kind=KIND,
            params=params | {"seeds": ", ".join(plan.varied)},
            tags={TAG: plan.name},
        )
        return cls(open_tracker(settings.model_copy(update={"root": resolve_root(settings.root)}), store), run)

    @property
    def complaint(self) -> str:
        """A line about what MLflow did not take; empty if there is nothing, or tracking is off."""
        return self._tracker.complaint if self._tracker.uri else ""

    def start(self) -> None:
        """Find or create the run, as running."""
        self._tracker.connect()
        self._tracker.start(self._run)

    def adopt(self, keys: Sequence[str]) -> None:
        """Put the runs of these keys below the sweep's, with its name as a tag."""
        if keys:
            self._tracker.adopt(keys, {TAG: self._run.name})

    def stop(self) -> None:
        """End the run as stopped."""
        self._tracker.end("", "KILLED")

    def close(self, table: SweepTable, files: Mapping[str, bytes]) -> None:
        """Record the table, the page and the best row, and end the run."""
        metrics: dict[str, float] = {}
        tags: dict[str, str] = {"ddpm.best": table.note}
        if table.best is not None:
            row = table.rows[table.best]
            metrics = {
                f"best/{name}": row.measurements[name].value for name in table.figures if name in row.measurements
            }
            tags["ddpm.best_settings"] = combination_text(row.settings)
        self._tracker.close(metrics, dict(files), tags)
