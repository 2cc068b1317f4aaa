"""A training that is asked to stop saves its last step and goes on from it; it also saves by time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flows.stage import Progress
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.training import train
from flows.stages.train.worker import TrainingWorker
from infra.compute.heartbeat import Pulse
from tests.conftest import TinyRun
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def after_each_step(worker: TrainingWorker, call: Callable[[], object]) -> None:
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        call()
        return result

    worker.step = stepping


def test_a_stopped_run_leaves_a_checkpoint_and_no_snapshot(bench: Bench, config: TrainConfig) -> None:
    config = config.model_copy(update={"checkpoint_images": 10**6})
    output, pulse = bench.output("stopped"), Pulse()
    worker = bench.worker(output, config, 20 * STEP, pulse=pulse)
    after_each_step(worker, lambda: setattr(pulse, "stop", worker.state.images_seen == 7 * STEP))
    worker.run()
    assert kept(output, CHECKPOINTS) == [7 * STEP]
    assert kept(output, SNAPSHOTS) == []
    assert worker.beat()["kept"] == worker.beat()["images_seen"] == 7 * STEP
    again = bench.worker(output, config, 20 * STEP)
    again.run()
    assert again.resumed_at == 7 * STEP
    assert snapshot(output, 20 * STEP) == snapshot(bench.train("straight", config, 20 * STEP), 20 * STEP)


def test_a_wish_to_stop_at_the_goal_comes_too_late(bench: Bench, config: TrainConfig) -> None:
    output, pulse = bench.output("late"), Pulse()
    worker = bench.worker(output, config, 5 * STEP, pulse=pulse)
    after_each_step(worker, lambda: setattr(pulse, "stop", worker.state.images_seen == 5 * STEP))
    worker.run()
    assert kept(output, SNAPSHOTS) == [5 * STEP]


def test_an_interrupt_in_one_process(tiny_run: TinyRun, config: TrainConfig) -> None:
    """It goes the way of the stage: nothing is sealed, and what was kept is said."""
    heard: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == 3:
            raise KeyboardInterrupt

    endless = config.model_copy(update={"images": 1 << 30, "checkpoint_images": 1 << 30})
    with pytest.raises(KeyboardInterrupt):
        train(endless, tiny_run.dataset, replace(tiny_run.context, on_progress=interrupt))
    (folder,) = (path.parent for path in Path(tiny_run.store.uri).glob("train/*/checkpoints") if _is_new(path))
    (checkpoint,) = folder.glob("checkpoints/*.json")
    images = int(checkpoint.stem)
    assert images == heard[-1].done == heard[-1].kept > 0
    assert not list(folder.glob("manifests/*"))
    goal = config.model_copy(update={"images": images + STEP})
    resumed: list[Progress] = []
    digest = train(goal, tiny_run.dataset, replace(tiny_run.context, on_progress=resumed.append)).digest
    assert [resumed[0].done, resumed[0].start, resumed[0].kept] == [images] * 3, "said before anything starts"
    assert digest == train(goal, tiny_run.dataset, replace(tiny_run.context, force=True)).digest


def _is_new(checkpoints: Path) -> bool:
    return not (checkpoints.parent / "manifests").exists()


def test_checkpoints_come_by_time_too(bench: Bench, config: TrainConfig) -> None:
    """Steps of 25 s pass a minute after every third; one by images in between starts a new minute."""
    config = config.model_copy(
        update={
            "checkpoint_minutes": 1.0,
            "checkpoint_images": 8 * STEP,
            "keep_checkpoints": 99,
            "history_images": 10**6,
        }
    )
    output, clock = bench.output("by time"), Clock()
    worker = bench.worker(output, config, 13 * STEP, clock=clock)
    after_each_step(worker, lambda: setattr(clock, "now", clock.now + 25))
    worker.run()
    assert [images // STEP for images in kept(output, CHECKPOINTS)] == [3, 6, 8, 11, 13]
    seldom = config.model_copy(update={"checkpoint_minutes": 1e6, "checkpoint_images": 10**6})
    assert snapshot(output, 13 * STEP) == snapshot(bench.train("seldom", seldom, 13 * STEP), 13 * STEP)


def test_rates_are_those_of_training_and_of_this_attempt(bench: Bench, config: TrainConfig) -> None:
    """A step takes two seconds, and copying for a checkpoint a hundred, of which no rate knows."""
    config = config.model_copy(update={"checkpoint_images": 3 * STEP, "history_images": 2 * STEP})
    output, rates = bench.output("rates"), []
    for goal in (6 * STEP, 12 * STEP):
        clock = Clock()
        worker = bench.worker(output, config, goal, clock=clock)
        tensors = worker.state.tensors

        def slow(
            tensors: Callable[[], dict[str, torch.Tensor]] = tensors, clock: Clock = clock
        ) -> dict[str, torch.Tensor]:
            clock.now += 100
            return tensors()

        worker.state.tensors = slow
        after_each_step(worker, lambda clock=clock: setattr(clock, "now", clock.now + 2))
        worker.run()
        rates.append(worker.beat()["images_per_second"])
    assert rates == [STEP / 2, STEP / 2]
    assert [row["images_per_second"] for row in history_rows(output)] == [STEP / 2] * 6


def test_the_first_beat_comes_before_the_first_step(bench: Bench, config: TrainConfig) -> None:
    """With no rate yet; then the loss is that of the steps since, and not of one step alone."""
    output = bench.train("beats", config, 5 * STEP)
    beats: list[dict[str, object]] = []
    with Pulse(lambda about: bool(beats.append(about)), lambda: {"starting": True}, every_s=60) as pulse:
        worker = bench.worker(output, config, 10 * STEP, pulse=pulse)
        worker.run()
    assert beats[0] == {"starting": True}
    # The beat at the start may come a step or two late.
    assert beats[1]["resumed_at"] == beats[1]["kept"] == 5 * STEP <= beats[1]["images_seen"]
    assert (beats[-1]["images_seen"], beats[-1]["kept"], beats[-1]["phase"]) == (10 * STEP, 10 * STEP, "")
    assert beats[-1]["loss"] == pytest.approx(history_rows(output)[-1]["loss"])
