"""The four stages with their tracking: each runs, and MLflow receives what it sealed."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.pages.pictures import sample_grid
from flows.recipe.config import PipelineConfig
from flows.runtime.progress import StageProgress
from flows.stage import Context
from flows.stage_config import StageConfig
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.card import render_card
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.dataset import DatasetReader
from infra.errors import ConfigError, DdpmError
from infra.manifest import canonical_json
from infra.record import DatasetInput, ModelFile, StageRecord
from infra.tracking import Tracker

# A snapshot up to this size goes to MLflow as a file, a larger one as its URI and digest.
MAX_SNAPSHOT_BYTES = 64 << 20
_GRID_IMAGES = 64

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """The duration of a stage in this attempt, and the work done in it."""

    seconds: float
    done: int
    unit: str
    reused: bool


@dataclass
class TrackedStages:
    """Runs stages and tells the tracker.

    Attributes:
        config: All stages' settings.
        context: The outside world.
        tracker: MLflow, or nothing.
        progress: Shows how far a stage is.
        on_data: Receives the data's key as soon as the source is listed, before any work: the run is known by then.
        times: Filled as stages end.
    """

    config: PipelineConfig
    context: Context
    tracker: Tracker
    progress: StageProgress
    on_data: Callable[[str], None]
    times: dict[str, StageTime] = field(default_factory=dict)

    def prepare(self) -> Dataset:
        """Seal the data set."""
        dataset = self._run("prepare", lambda context: prepare(self.config.prepare, context))
        manifest = dataset.manifest(self.context.store)
        card = f"{manifest.folder}/card.html"
        if not self.context.store.exists(card):
            self.context.store.put_if_absent(card, render_card(self.context.store, manifest).encode())
        counts = {"train_images": dataset.train_images, "test_images": dataset.test_images}
        counts |= {"quarantined_images": manifest.facts["quarantined"], "found_images": manifest.facts["read"]}
        self._publish(
            "prepare",
            dataset,
            metrics={f"prepare/{name}": float(value) for name, value in counts.items()},
            files={"card.html": self.context.store.read(card)},
            inputs=[self._dataset_input(dataset, "prepared")],
        )
        return dataset

    def train(self, dataset: Dataset) -> Checkpoint:
        """Train on it."""
        classes = len(dataset.class_names)
        if self.config.train.class_conditional and self.config.sample.label >= classes:
            raise ConfigError(
                f"must be below the data's {classes} classes; got {self.config.sample.label}",
                stage="sample",
                item="sample.label",
            )
        checkpoint = self._run("train", lambda context: train(self.config.train, dataset, context))
        manifest = checkpoint.manifest(self.context.store)
        unit = manifest.units[0]
        files = {}
        if unit["bytes"] <= MAX_SNAPSHOT_BYTES:
            files["snapshot.safetensors"] = self.context.store.read(f"{manifest.folder}/{unit['file']}")
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in manifest.facts["history"])
        files["history.jsonl"] = lines.encode()
        self._publish(
            "train",
            checkpoint,
            history=manifest.facts["history"],
            files=files,
            inputs=[self._dataset_input(dataset, "training")],
            tags={
                "ddpm.snapshot": f"{self.context.store.uri}/{manifest.folder}/{unit['file']}",
                "ddpm.snapshot_sha256": unit["sha256"],
            },
            model=ModelFile(
                name=f"{self.config.prepare.kind}-{checkpoint.key[:8]}-{checkpoint.images_seen}",
                uri=f"{self.context.store.uri}/{manifest.folder}/{unit['file']}",
                sha256=unit["sha256"],
            ),
        )
        return checkpoint

    def sample(self, checkpoint: Checkpoint) -> Samples:
        """Draw from the snapshot."""
        samples = self._run("sample", lambda context: sample(self.config.sample, checkpoint, context))
        manifest = samples.manifest(self.context.store)
        images, _ = DatasetReader(store=self.context.store, manifest=manifest).load("samples", limit=_GRID_IMAGES)
        self._publish(
            "sample",
            samples,
            metrics={"sample/count": float(samples.count)},
            files={"samples.png": sample_grid(images)},
        )
        return samples

    def evaluate(self, dataset: Dataset, checkpoint: Checkpoint, samples: Samples) -> Report:
        """Compute the figures."""
        report = self._run(
            "evaluate", lambda context: evaluate(self.config.evaluate, dataset, checkpoint, samples, context)
        )
        self._publish(
            "evaluate",
            report,
            metrics=report.figures,
            tags={f"ddpm.{name}": str(count) for name, count in report.counts.items()},
            inputs=[self._dataset_input(dataset, "evaluation")],
            files={"metrics.json": json.dumps(report.metrics, indent=2, sort_keys=True).encode()},
        )
        return report

    def _run(self, stage: str, work: Callable[[Context], A]) -> A:
        config: StageConfig = getattr(self.config, stage)
        params = {f"{stage}.{name}": value for name, value in config.model_dump(mode="json").items()}

        def begin(data_key: str = "") -> None:
            if data_key:
                self.on_data(data_key)
            self.tracker.begin(stage, params)

        if stage != "prepare":
            begin()
        context = replace(
            self.context,
            on_progress=lambda progress: self.progress(stage, progress),
            on_history=lambda rows: self.tracker.log_history(stage, rows),
            on_data=begin,
        )
        started = time.monotonic()
        try:
            artifact = work(context)
        except BaseException as error:
            if isinstance(error, DdpmError):
                error.stage = error.stage or stage
            self._stopped(stage, error)
            raise
        last = self.progress.last(stage)
        self.times[stage] = StageTime(
            seconds=time.monotonic() - started,
            done=last.done - last.start if last else 0,
            unit=last.unit if last else "images",
            reused=artifact.reused,
        )
        return artifact

    def _stopped(self, stage: str, error: BaseException) -> None:
        """Say what is kept, and how the attempt ended: by a fault, or because somebody stopped it."""
        self.progress.stopped(stage)
        if last := self.progress.last(stage):
            error.add_note(f"{stage} keeps {last.kept:,} of {last.total:,} {last.unit}")
        self.tracker.end(stage, "FAILED" if isinstance(error, Exception) else "KILLED")

    def _publish(
        self,
        stage: str,
        artifact: Artifact,
        *,
        metrics: dict[str, float] | None = None,
        history: Sequence[dict[str, Any]] = (),
        files: dict[str, bytes] | None = None,
        inputs: Sequence[DatasetInput] = (),
        tags: dict[str, str] | None = None,
        model: ModelFile | None = None,
    ) -> None:
        manifest = artifact.manifest(self.context.store)
        where = {"ddpm.uri": f"{self.context.store.uri}/{manifest.folder}", "ddpm.digest": artifact.digest}
        about = {
            "manifest.json": canonical_json(manifest.as_json()),
            "config.json": canonical_json(getattr(self.config, stage).model_dump(mode="json")),
        }
        record = StageRecord(
            key=artifact.key,
            digest=artifact.digest,
            metrics=metrics or {},
            history=history,
            files=about | (files or {}),
            inputs=inputs,
            tags=where | (tags or {}),
            model=model,
        )
        self.tracker.publish(stage, record)

    def _dataset_input(self, dataset: Dataset, context: str) -> DatasetInput:
        return DatasetInput(
            name=self.config.prepare.kind,
            uri=f"{self.context.store.uri}/{dataset.name}",
            digest=dataset.digest,
            context=context,
        )
