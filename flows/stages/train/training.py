"""Train: turns a data set into a snapshot of averaged weights, on one torch.distributed group that Ray Train runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial

from flows.artifacts import Dataset, Snapshot, held_out_without_label
from flows.given import Given
from flows.missing import Amount
from flows.nodes.devices import environment_of, resolve, workers_of
from flows.nodes.environment import Environment
from flows.nodes.survey import Survey
from flows.snapshot import make_schedule
from flows.stage import Context
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import latest_checkpoint
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.initial import SETTING, find_initial, read_initial
from flows.stages.train.mending import put_back, take_out_damaged
from flows.stages.train.misfits import check_fit, remarks
from flows.stages.train.news import TrainingNews, said_once
from flows.stages.train.objective import schedule_settings
from flows.stages.train.sealing import seal, snapshot_record
from flows.stages.train.watch.beside import BesideWatch, open_run
from flows.stages.train.watch.records import unmeasured_places
from flows.stages.train.watch.turn import left_out
from flows.stages.train.worker import run_training
from infra.compute.units import Workers
from infra.errors import ConfigError, IntegrityError
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
        ConfigError: If the network does not suit the images, needs labels that they do not have, the schedule leaves
            too little of an image, or the network to start from does not fit the settings.
        InputError: If there is no network to start from.
        DivergedError: If gradients stay non-finite.
        IntegrityError: If the snapshot at the goal was sealed, is damaged, and does not come out as it was.
    """
    check_network(config, dataset)
    _check_schedule(config)
    context = replace(context, say=said_once(context.say))
    initial = _initial(config, dataset, context)
    resolved = cache(partial(resolve, config, context.cluster, STAGE, context.say, group=True))
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"dataset": dataset.digest} | ({"initial": initial.digest} if initial else {}),
    )
    goal = config.goals()

    def attempt(output: Output, survey: Survey, *, anew: bool) -> Manifest:
        # A longer run may have passed this goal at a point.
        if anew or snapshot_record(output, config.total_images) is None:
            _run(resolved(), dataset, output, context, initial, survey)
        else:
            if config.watch_share and (left := unmeasured_places(output, config.total_images)):
                context.say(left_out(left, "training had ended before they were measured"))
            _news(resolved(), dataset, output, context, initial).seal_points(at_end=True)  # those that a kill left
        put_back(output, config.total_images)
        rows = history_rows(output, context.say)
        untrained = dataset.untrained_classes(context.store)
        return seal(output, resolved(), goal, config.total_images, rows, initial, untrained, context.say)

    def make(output: Output, survey: Survey) -> Manifest:
        _say_unlabelled(config, dataset, context)
        try:
            return attempt(output, survey, anew=False)
        except IntegrityError:
            if not take_out_damaged(output, config.total_images, context.say):
                raise
        return attempt(output, survey, anew=True)

    def done(output: Output) -> dict[str, int]:
        total = config.total_images
        return {"images": total if snapshot_record(output, total) else latest_checkpoint(output, total)}

    amount = Amount(total=config.total_images)
    manifest, reused = context.sealed(
        plan, goal, lambda: _environment(resolved()), make, done=done, amount=amount, noun="network"
    )
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


def _say_unlabelled(config: TrainConfig, dataset: Dataset, context: Context) -> None:
    """Say it if images are watched without a label, although the network never trains so."""
    if not config.watch_share or not config.class_conditional or config.label_dropout:
        return
    if count := held_out_without_label(dataset.manifest(context.store)):
        context.say(
            f"{STAGE:>9} {count:,} held-out images have no class of a training image; with train.label_dropout=0 their "
            "bits/dim along the way mean nothing"
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
    news = _news(config, dataset, output, context, initial)
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


def _news(
    config: TrainConfig, dataset: Dataset, output: Output, context: Context, initial: Given | None
) -> TrainingNews:
    return TrainingNews(
        output=output,
        context=context,
        config=config,
        goal=config.total_images,
        initial=initial,
        untrained=dataset.untrained_classes(context.store),
    )


def _watch_beside(assignment: Assignment, context: Context, workers: Workers) -> BesideWatch | None:
    """Return the watch by a worker beside the group; None if the cluster has no room for it."""
    config, output = assignment.config, assignment.output
    beside = context.cluster.beside(open_run, assignment.as_json(), group=workers)
    return None if beside is None else BesideWatch(output, config.total_images, beside, config.watch_share)


@contextmanager
def _run_folder(context: Context) -> Iterator[str]:
    """Yield the folder for Ray Train's own files: below the root, or local if the root is on S3 and Ray is local."""
    if context.store.uri.startswith("s3://") and context.cluster.address is None:
        with tempfile.TemporaryDirectory(prefix="ddpm-train-", ignore_cleanup_errors=True) as folder:
            yield folder
    else:
        yield f"{context.store.uri}/.ray-train"
