"""No checkpoint, point or snapshot holds a number that is not finite."""

from collections.abc import Callable, Iterator

import pytest
import torch

from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS
from flows.stages.train.worker import TrainingWorker
from infra.errors import DivergedError
from tests.flows.stages.train.bench import STEP, Bench, kept

GOAL = 6 * STEP


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"checkpoint_images": STEP, "watch_images": 2 * STEP, "keep_checkpoints": 2})


@pytest.fixture
def poisoned(bench: Bench, config: TrainConfig) -> Iterator[Callable[[str], TrainingWorker]]:
    def make(part: str) -> TrainingWorker:
        worker = bench.worker(bench.output(f"poisoned {part}"), config, GOAL)
        step = worker.step

        def stepping(*arguments: object) -> object:
            result = step(*arguments)
            if worker.state.images_seen == 3 * STEP:
                name = next(name for name in worker.state.tensors() if name.startswith(part))
                with torch.no_grad():
                    worker.state.tensors()[name].view(-1)[-1:].fill_(float("inf"))
            return result

        worker.step = stepping
        return worker

    return make


@pytest.mark.parametrize("part", ["optimizer.3.exp_avg_sq", "averages.1."])
def test_numbers_that_are_not_finite_are_never_saved(poisoned: Callable[[str], TrainingWorker], part: str) -> None:
    """Checkpoints before them are kept; the averaged weights, which are whole, are the result."""
    worker = poisoned(part)
    worker.run()
    assert kept(worker.output, CHECKPOINTS) == [STEP, 2 * STEP]
    assert kept(worker.output, SNAPSHOTS) == [GOAL]
    (line,) = worker.beat()["lines"]
    assert "not finite" in line
    assert worker.checkpoints.kept == 2 * STEP


def test_averaged_weights_that_are_not_finite_are_no_result(poisoned: Callable[[str], TrainingWorker]) -> None:
    worker = poisoned("ema.")
    with pytest.raises(DivergedError, match="averaged weights are not finite"):
        worker.run()
    assert kept(worker.output, CHECKPOINTS) == [STEP, 2 * STEP]
    assert kept(worker.output, SNAPSHOTS) == []
    assert kept(worker.output, POINTS) == [2 * STEP]
