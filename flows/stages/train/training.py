"""Train: turns a data set into a snapshot of averaged weights, on one torch.distributed group that Ray Train runs."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import Dataset, Snapshot
from flows.snapshot import make_schedule
from flows.stage import Context, Progress
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import SNAPSHOTS, latest_checkpoint
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import HISTORY, history_rows
from flows.stages.train.objective import schedule_settings
from flows.stages.train.worker import run_training
from infra.compute.compilation import compiler_facts
from infra.compute.device import environment, resolve_device, resolve_dtype
from infra.compute.units import Workers
from infra.errors import ConfigError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

STAGE = "train"
FORMAT_VERSION = 3
# 1 / sqrt(alpha-bar) must be finite in float32.
_LEAST_ALPHA_BAR = 1e-76


def train(config: TrainConfig, dataset: Dataset, context: Context) -> Snapshot:
    """Train on `config.images` images in all and seal the snapshot of that goal.

    All goals of one key share their checkpoints, so a longer run resumes a shorter one. For every number of workers,
    the samples, timesteps and noise of each step are a function of (seed, step).

    Raises:
        ConfigError: If the network does not suit the images, needs labels that they do not have, or the schedule leaves
            too little of an image.
        DivergedError: If gradients stay non-finite.
    """
    check_network(config, dataset)
    _check_schedule(config)
    device = resolve_device(config.device)
    resolved = config.model_copy(update={"dtype": resolve_dtype(config.dtype, device), "device": device})
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"dataset": dataset.digest},
    )
    goal = resolved.goals()

    def make(output: Output) -> Manifest:
        _run(resolved, dataset, output, context)
        return _seal(output, resolved, goal)

    facts = environment(device) | {"dtype": resolved.dtype} | compiler_facts(config.compile)
    manifest, reused = context.sealed(plan, goal, facts, make)
    return Snapshot.of(manifest, reused=reused)


def check_network(config: TrainConfig, dataset: Dataset) -> None:
    """Refuse a network that does not suit the images.

    Raises:
        ConfigError: If it does not suit their size, or it is conditioned on labels and they have none.
    """
    try:
        config.unet(dataset.image_size, dataset.channels)
    except ValueError as error:
        raise ConfigError(str(error), item="train", stage=STAGE) from error
    if config.class_conditional and not dataset.class_names:
        raise ConfigError(
            "the data has no labels to condition the network on",
            item="train.class_conditional",
            stage=STAGE,
            remedy="turn it off",
        )


def _check_schedule(config: TrainConfig) -> None:
    """Refuse, before training, a schedule that sampling could not invert.

    Raises:
        ConfigError: If alpha-bar reaches 0 before its end, or is so small there that float32 cannot divide by its root.
    """
    try:
        cumprod = make_schedule(**schedule_settings(config)).alphas_cumprod
    except ValueError as error:
        raise ConfigError(str(error), item="train.schedule", stage=STAGE) from error
    least = float(cumprod[-2] if config.parameterisation != "eps" else cumprod[-1])
    if not least > _LEAST_ALPHA_BAR:
        raise ConfigError(
            f"leaves too little of an image, alpha-bar {least:.1g}, to recover it",
            item="train.schedule",
            stage=STAGE,
            remedy="take smaller betas or fewer timesteps",
        )


def _run(config: TrainConfig, dataset: Dataset, output: Output, context: Context) -> None:
    gpus = 1 if config.device == "cuda" else 0
    workers = Workers(count=config.workers or 1, cpus=config.threads, gpus=gpus)
    assignment = Assignment(config=config, dataset=dataset, output=output)
    news = _News(output=output, context=context, goal=config.total_images)
    news.on_beat({"phase": context.starting})
    with _run_folder(context) as folder:
        context.cluster.run_group(
            run_training,
            assignment.as_json(),
            workers=workers,
            stage=STAGE,
            run_folder=folder,
            on_poll=news.on_poll,
            on_beat=news.on_beat,
        )


@dataclass(kw_only=True)
class _News:
    """Passes on the workers' commits and reports."""

    output: Output
    context: Context
    goal: int
    start: int = field(init=False)
    kept: int = field(init=False)
    _rows: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.kept = latest_checkpoint(self.output, self.goal)
        self._rows = set(self._history())

    def on_poll(self) -> int:
        """Pass on new rows of the history; return a number that grows with every commit."""
        for name in self._history():
            if name not in self._rows:
                self._rows.add(name)
                self.context.on_history(json.loads(self.context.store.read(name)))
        return len(self._rows) + self.kept

    def on_beat(self, beat: dict[str, Any]) -> None:
        """Pass on a worker's beat; until the worker has resumed, the beat holds only its phase."""
        # If the latest checkpoint is damaged, a worker resumes from an earlier one.
        self.start = min(self.start, beat.get("resumed_at", self.start))
        self.kept = beat.get("kept", self.kept)
        progress = Progress(
            done=beat.get("images_seen", self.start),
            total=self.goal,
            start=self.start,
            kept=self.kept,
            loss=beat.get("loss"),
            rate=beat.get("images_per_second"),
            phase=beat["phase"],
        )
        self.context.on_progress(progress)

    def _history(self) -> list[str]:
        return self.output.store.list(f"{self.output.folder}/{HISTORY}")


@contextmanager
def _run_folder(context: Context) -> Iterator[str]:
    """Yield the folder for Ray Train's own files: below the root, or local if the root is on S3 and Ray is local."""
    if context.store.uri.startswith("s3://") and context.cluster.address is None:
        with tempfile.TemporaryDirectory(prefix="ddpm-train-", ignore_cleanup_errors=True) as folder:
            yield folder
    else:
        yield f"{context.store.uri}/.ray-train"


def _seal(output: Output, config: TrainConfig, goal: dict[str, int]) -> Manifest:
    record = output.record(f"{SNAPSHOTS}/{config.total_images:012d}")
    assert record is not None, "training ended without a snapshot"
    rows = [row for row in history_rows(output) if row["images_seen"] <= config.total_images]
    facts = {
        "images_seen": config.total_images,
        "history": rows,
        "num_timesteps": config.num_timesteps,
        "settings": config.result_settings(),
    }
    return output.seal(goal, [{"unit": 0, "rows": 1, **record.as_json()}], facts)
