"""Train: turns a data set into a snapshot of averaged weights, on one torch.distributed group that Ray Train runs."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Self

from flows.artifacts import Dataset, Snapshot
from flows.devices import environment_of, resolve, workers_of
from flows.environment import Environment
from flows.snapshot import make_schedule
from flows.stage import Context, Given, Progress
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import latest_checkpoint
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import HistoryReader, history_rows
from flows.stages.train.initial import SETTING, find_initial, read_initial
from flows.stages.train.misfits import check_fit, remarks
from flows.stages.train.objective import schedule_settings
from flows.stages.train.saver import PATIENCE_S
from flows.stages.train.sealing import point_images, seal, snapshot_record
from flows.stages.train.watch.beside import BesideWatch, open_run
from flows.stages.train.watch.news import WatchNews
from flows.stages.train.watch.records import unmeasured_places
from flows.stages.train.watch.turn import left_out
from flows.stages.train.worker import run_training
from flows.survey import Survey
from infra.compute.units import Workers
from infra.errors import ConfigError, IntegrityError, ResourceError, StorageError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

STAGE = "train"
FORMAT_VERSION = 3
# 1 / sqrt(alpha-bar) must be finite in float32.
_LEAST_ALPHA_BAR = 1e-76
_POINTS_EVERY_S = 5.0


def train(config: TrainConfig, dataset: Dataset, context: Context) -> Snapshot:
    """Train on `config.images` images in all and seal the snapshot of that goal.

    All goals of one key share their checkpoints, so a longer run resumes a shorter one. For every number of workers,
    the samples, timesteps and noise of each step are a function of (seed, step).

    Raises:
        ConfigError: If the network does not suit the images, needs labels that they do not have, the schedule leaves
            too little of an image, or the network to start from does not fit the settings.
        InputError: If there is no network to start from.
        DivergedError: If gradients stay non-finite.
    """
    check_network(config, dataset)
    _check_schedule(config)
    initial = _initial(config, dataset, context)
    resolved = cache(partial(resolve, config, context.cluster, STAGE, context.say, group=True))
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"dataset": dataset.digest} | ({"initial": initial.digest} if initial else {}),
    )
    goal = config.goals()

    def make(output: Output, survey: Survey) -> Manifest:
        # A longer run may have passed this goal at a point.
        if snapshot_record(output, config.total_images) is None:
            _run(resolved(), dataset, output, context, initial, survey)
        elif config.watch_share and (left := unmeasured_places(output, config.total_images)):
            context.say(left_out(left, "training had ended before they were measured"))
        return seal(output, resolved(), goal, config.total_images, history_rows(output), initial)

    def done(output: Output) -> dict[str, int]:
        total = config.total_images
        return {"images": total if snapshot_record(output, total) else latest_checkpoint(output, total)}

    manifest, reused = context.sealed(plan, goal, lambda: _environment(resolved()), make, done=done, noun="network")
    return Snapshot.of(manifest, reused=reused)


def _environment(config: TrainConfig) -> Environment:
    """Return what is recorded beside the plan, with the settings beside it that can change the last bits."""
    settings = {}
    if config.device == "cuda" and not config.deterministic:
        settings["deterministic"] = "off"
    if not config.dropout and 0 < config.microbatch < config.batch_size:
        settings["microbatch"] = str(config.microbatch)  # else it is in the plan
    return environment_of("training", config, settings)


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


def _initial(config: TrainConfig, dataset: Dataset, context: Context) -> Given | None:
    """Return the network to start from, sealed and checked, and say how it differs; None for fresh weights."""
    if not config.initial:
        return None
    given = context.given.get(SETTING) or find_initial(config.initial, context.store)
    trained = read_initial(given.digest, context.store)
    check_fit(trained, given.place, config, dataset.image_size, dataset.channels)
    found = remarks(trained, config, dataset.image_size, len(dataset.class_names))
    place = config.initial if given.place == config.initial else f"{config.initial} at {given.place}"
    for line in (f"{place}, digest {given.digest[:12]}", given.remark, *found):
        if line:
            context.say(f"{'initial':>9} {line}")
    return given


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


def _run(
    config: TrainConfig, dataset: Dataset, output: Output, context: Context, initial: Given | None, survey: Survey
) -> None:
    workers = context.cluster.nodes.sized(workers_of(config), stage=STAGE, group=True)
    assignment = Assignment(
        config=config, dataset=dataset, output=output, initial=initial.digest if initial else "", survey=survey
    )
    news = _News(output=output, context=context, config=config, goal=config.total_images, initial=initial)
    news.on_beat({"phase": context.starting})
    if config.watch_share:
        news.beside = _watch_beside(assignment, context, workers)
        assignment = replace(assignment, watching=news.beside is None)
    with _run_folder(context) as folder, news:
        context.cluster.run_group(
            run_training,
            assignment.as_json(),
            workers=workers,
            stage=STAGE,
            run_folder=folder,
            on_poll=news.on_poll,
            on_beat=news.on_beat,
        )
        news.finish()


def _watch_beside(assignment: Assignment, context: Context, workers: Workers) -> BesideWatch | None:
    """Return the watch by a worker beside the group; None if the cluster has no room for it."""
    config, output = assignment.config, assignment.output
    beside = context.cluster.beside(open_run, assignment.as_json(), group=workers)
    return None if beside is None else BesideWatch(output, config.total_images, beside, config.watch_share)


@dataclass(kw_only=True)
class _News:
    """Passes on the workers' commits and reports; at the end of its `with` block a worker beside the group ends."""

    output: Output
    context: Context
    config: TrainConfig
    goal: int
    initial: Given | None = None
    clock: Callable[[], float] = time.monotonic
    beside: BesideWatch | None = None
    start: int = field(init=False)
    kept: int = field(init=False)
    _history: HistoryReader = field(init=False)
    _watch: WatchNews = field(init=False)
    _lines: set[str] = field(default_factory=set, init=False)
    _sealed: set[int] = field(default_factory=set, init=False)
    _away_since_s: float | None = field(default=None, init=False)
    _last_points_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.start = self.kept = latest_checkpoint(self.output, self.goal)
        self._history = HistoryReader(self.output)
        self._history.read_new()
        self._watch = WatchNews(self.output, self.context, self.goal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.beside is not None:
            self.beside.end()

    def finish(self) -> None:
        """After the last step: have the last point measured within its bound, and seal and pass on what is new."""
        if self.beside is not None:
            self.on_beat({"phase": "measuring points", "images_seen": self.goal})
            try:
                self.beside.finish()
            except (StorageError, ResourceError) as error:  # figures alone are lost
                self.context.say(f"the points left have no figures: {error.cause}")
        self._look_at_points()

    def on_poll(self) -> int:
        """Pass on new rows of the history and seal new points; return a number that grows with every commit.

        Raises:
            StorageError: If the store has been away for ten minutes; a shorter outage is the workers' to bridge.
        """
        try:
            self._look()
            self._away_since_s = None
        except (StorageError, ResourceError):
            now_s = self.clock()
            self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
            if now_s - self._away_since_s >= PATIENCE_S:
                raise
        return len(self._history) + self.kept

    def _look(self) -> None:
        now_s = self.clock()
        if self._last_points_s is None or now_s - self._last_points_s >= _POINTS_EVERY_S:
            self._last_points_s = now_s
            if self.beside is not None:
                self.beside.look()
            self._look_at_points()
        else:
            self._pass_on_rows()

    def _look_at_points(self) -> None:
        self.seal_points()
        self._watch.look(self._history.rows())
        for line in self.beside.take_lines() if self.beside is not None else ():
            self.context.say(line)

    def _pass_on_rows(self) -> None:
        for rows in self._history.read_new():
            self.context.on_history(rows)

    def seal_points(self) -> None:
        """Pass on new rows of the history, and seal each new point as the goal of a shorter run."""
        points = [images_seen for images_seen in point_images(self.output) if images_seen not in self._sealed]
        self._pass_on_rows()  # after the points are listed: a point's rows are committed before it
        for images_seen in points:
            try:
                seal(self.output, self.config, {"images": images_seen}, images_seen, self._history.rows(), self.initial)
            except IntegrityError as error:  # training needs no point
                self.context.say(f"the point at {images_seen:,} images is not sealed: {error}")
            self._sealed.add(images_seen)

    def on_beat(self, beat: dict[str, Any]) -> None:
        """Pass on a worker's beat; until the worker has resumed, the beat holds only its phase."""
        # If the latest checkpoint is damaged, a worker resumes from an earlier one.
        self.start = min(self.start, beat.get("resumed_at", self.start))
        self.kept = beat.get("kept", self.kept)
        for line in beat.get("lines", ()):
            if line not in self._lines:
                self._lines.add(line)
                self.context.say(line)
        progress = Progress(
            done=beat.get("images_seen", self.start),
            total=self.goal,
            start=self.start,
            kept=self.kept,
            loss=beat.get("loss"),
            rate=beat.get("images_per_second"),
            data_share=beat.get("data_share"),
            phase=beat["phase"],
        )
        self.context.on_progress(progress)


@contextmanager
def _run_folder(context: Context) -> Iterator[str]:
    """Yield the folder for Ray Train's own files: below the root, or local if the root is on S3 and Ray is local."""
    if context.store.uri.startswith("s3://") and context.cluster.address is None:
        with tempfile.TemporaryDirectory(prefix="ddpm-train-", ignore_cleanup_errors=True) as folder:
            yield folder
    else:
        yield f"{context.store.uri}/.ray-train"
