"""The records of sealed stages and of their pipeline: delivered through the outbox, and marked once they are whole."""

from collections.abc import Callable
from typing import Any

from infra.record import StageRecord
from infra.tracking.outbox import Outbox
from infra.tracking.runs import PIPELINE_RUN, PUBLISHED, PipelineRuns

_KEY = "ddpm.stage_key"


class Publications:
    """The records of one pipeline that are still to be delivered, and those that are delivered but not marked.

    Args:
        outbox: Makes the deliveries.
        runs: The runs that receive them.

    Attributes:
        rows: New rows of each stage's history that no run has received yet.
    """

    def __init__(self, outbox: Outbox, runs: PipelineRuns) -> None:
        self._outbox, self._runs = outbox, runs
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._unmarked: dict[str, str] = {}

    def add_rows(self, stage: str, rows: list[dict[str, Any]]) -> None:
        """Add new rows of a working stage's history."""
        self.rows.setdefault(stage, []).extend(rows)
        self._outbox.put("metrics", stage, lambda: self._deliver_rows(stage))

    def offer(self, stage: str, record: StageRecord) -> None:
        """Put the deliveries of a record into the outbox, unless the stage's run has them already."""
        store, child = self._runs.connected(), self._runs.child_run(stage)
        if store.tags(child).get(PUBLISHED) == record.digest:
            self._outbox.drop("metrics", stage)
        else:
            self._unmarked[stage] = record.digest
            self._outbox.put("metrics", stage, lambda: self._deliver_metrics(stage, record))
            self._outbox.put("inputs", stage, lambda: store.log_inputs(child, record.inputs))
            self._outbox.put("files", stage, lambda: store.log_files(child, record.files))
            self._outbox.put("tags", stage, lambda: store.set_tags(child, {_KEY: record.key, **record.tags}))
            self._outbox.put("images", stage, lambda: self._deliver_pictures(child, record))
            if record.model is not None:
                model = record.model
                self._outbox.put("model", stage, lambda: store.log_model(child, model))
            if record.measured is not None:
                file = record.measured.file
                self._outbox.put(
                    "model", stage, lambda: store.log_model_figures(child, file, record.metrics, record.inputs)
                )
        self._outbox.put("status", stage, lambda: store.finish(child))

    def close(self, digest: str) -> None:
        """Let `mark` mark the pipeline's own run with a digest of its files."""
        self._unmarked[PIPELINE_RUN] = digest

    def mark(self) -> None:
        """Mark the runs that received everything, so that no later attempt delivers it again."""
        for stage, digest in list(self._unmarked.items()):
            if self._outbox.is_empty(stage):
                del self._unmarked[stage]
                self._outbox.put("tags", stage, self._marking(stage, digest))
                self._outbox.send({stage, PIPELINE_RUN})

    def _marking(self, stage: str, digest: str) -> Callable[[], None]:
        run = self._runs.parent if stage == PIPELINE_RUN else self._runs.children[stage]
        return lambda: self._runs.connected().set_tags(run, {PUBLISHED: digest})

    def _deliver_rows(self, stage: str) -> None:
        self._runs.log_history(stage, self.rows[stage])
        self.rows[stage] = []

    def _deliver_pictures(self, child: str, record: StageRecord) -> None:
        """Put the pictures beside the curves, on the stage's run and on the pipeline's."""
        pictures = record.pictures()
        for run in (child, self._runs.parent):
            self._runs.connected().log_pictures(run, pictures)

    def _deliver_metrics(self, stage: str, record: StageRecord) -> None:
        self._runs.log_history(stage, record.history)
        self._runs.connected().log_figures(self._runs.children[stage], record.metrics)
        self.rows[stage] = []
