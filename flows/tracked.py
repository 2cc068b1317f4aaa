"""The four stages with their tracking: each runs, and what it sealed is told to MLflow."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.config import PipelineConfig, StageConfig
from flows.context import Context
from flows.dataset_card import render_card
from flows.pictures import sample_grid
from flows.stages.evaluate import evaluate
from flows.stages.prepare import prepare
from flows.stages.sample import sample
from flows.stages.train import train
from infra.dataset import DatasetReader
from infra.errors import ConfigError, DdpmError
from infra.manifest import canonical_json
from infra.store import sha256
from infra.tracking import DatasetInput, StageRecord, Tracker

# A snapshot up to this size goes to MLflow as a file, a larger one as its URI and digest.
MAX_SNAPSHOT_BYTES = 64 << 20
_GRID_IMAGES = 64

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """How long a stage took, and for how many of what."""

    seconds: float
    images: int
    reused: bool


def pipeline_key(config: PipelineConfig) -> str:
    """What makes two pipeline runs the same one: every setting but the execution ones."""
    stages = {name: getattr(config, name) for name in type(config).model_fields}
    return sha256(canonical_json({name: [s.result_settings(), s.goals()] for name, s in stages.items()}))[:20]


@dataclass
class TrackedStages:
    """Runs stages and tells the tracker.

    Attributes:
        config: All stages' settings.
        context: The outside world.
        tracker: MLflow, or nothing.
        on_progress: Told (stage, done, total).
        times: Filled as stages end.
    """

    config: PipelineConfig
    context: Context
    tracker: Tracker
    on_progress: Callable[[str, int, int], None]
    times: dict[str, StageTime] = field(default_factory=dict)

    def prepare(self) -> Dataset:
        """Seal the data set."""
        dataset = self._run("prepare", self.config.prepare, lambda c: prepare(self.config.prepare, c), _dataset_images)
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
        checkpoint = self._run(
            "train", self.config.train, lambda c: train(self.config.train, dataset, c), lambda a: a.images_seen
        )
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
        )
        return checkpoint

    def sample(self, checkpoint: Checkpoint) -> Samples:
        """Draw from the snapshot."""
        samples = self._run(
            "sample", self.config.sample, lambda c: sample(self.config.sample, checkpoint, c), lambda a: a.count
        )
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
            "evaluate",
            self.config.evaluate,
            lambda c: evaluate(self.config.evaluate, dataset, checkpoint, samples, c),
            lambda a: int(a.metrics["eval/bpd_images"]),
        )
        self._publish(
            "evaluate",
            report,
            metrics=report.metrics,
            inputs=[self._dataset_input(dataset, "evaluation")],
            files={"metrics.json": json.dumps(report.metrics, indent=2, sort_keys=True).encode()},
        )
        return report

    def _run(self, stage: str, config: StageConfig, work: Callable[[Context], A], images: Callable[[A], int]) -> A:
        params = {f"{stage}.{name}": value for name, value in config.model_dump(mode="json").items()}
        self.tracker.begin(stage, params)
        context = replace(
            self.context,
            on_progress=lambda done, total: self.on_progress(stage, done, total),
            on_history=lambda rows: self.tracker.log_history(stage, rows),
        )
        started = time.monotonic()
        try:
            artifact = work(context)
        except DdpmError as error:
            error.stage = error.stage or stage
            self.tracker.fail(stage)
            raise
        except BaseException:
            self.tracker.fail(stage)
            raise
        self.times[stage] = StageTime(
            seconds=time.monotonic() - started, images=images(artifact), reused=artifact.reused
        )
        return artifact

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
        )
        self.tracker.publish(stage, record)

    def _dataset_input(self, dataset: Dataset, context: str) -> DatasetInput:
        return DatasetInput(
            name=self.config.prepare.kind,
            uri=f"{self.context.store.uri}/{dataset.name}",
            digest=dataset.digest,
            context=context,
        )


def _dataset_images(dataset: Dataset) -> int:
    return dataset.train_images + dataset.test_images
