"""The loop gives the watcher its points, and its rows hold what the steps were; neither changes what is trained."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from flows.snapshot import decode_snapshot
from flows.stages.train.checkpoints import SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows, loss_by_quarter
from flows.stages.train.points import POINTS
from flows.stages.train.watch.watcher import Watcher
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot
from tests.flows.stages.train.test_stop import Clock, after_each_step

GOAL = 10 * STEP


class Observer:
    """A watcher that takes its time and writes down what it is given."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.turns, self.finished = clock, 0, False
        self.points: dict[int, Mapping[str, Tensor]] = {}

    def point(self, images_seen: int, weights: Mapping[str, Tensor]) -> None:
        assert not self.finished
        self.points[images_seen] = weights

    def turn(self) -> None:
        self.turns += 1
        self.clock.now += 1

    def finish(self, stop: object) -> None:
        self.finished = True

    def lines(self) -> list[str]:
        return ["seen"]


def test_the_watcher_is_given_every_point(bench: Bench, config: TrainConfig) -> None:
    config = config.model_copy(update={"watch_images": 4 * STEP})
    output, observer = bench.output("watched"), Observer(Clock())
    watcher: Watcher = observer
    worker = bench.worker(output, config, GOAL, watcher=watcher)
    worker.run()
    assert (list(observer.points), observer.turns, observer.finished) == ([4 * STEP, 8 * STEP, GOAL], 10, True)
    assert worker.beat()["lines"] == ["seen"]
    for images_seen, weights in observer.points.items():
        name = f"{SNAPSHOTS if images_seen == GOAL else POINTS}/{images_seen:012d}"
        network = decode_snapshot(bench.path(output, name).read_bytes(), name).network
        assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert snapshot(output, GOAL) == snapshot(bench.train("alone", config, GOAL), GOAL)


def test_points_by_time_stay_a_64th_of_the_run_apart(bench: Bench, config: TrainConfig) -> None:
    """On a clock by which one is due after every step; also beside a point that an earlier attempt left."""
    config = config.model_copy(update={"watch_images": 10**6, "watch_minutes": 1e-9, "averages": False})
    output = bench.output("points")
    bench.worker(output, config, 70 * STEP).run()
    assert kept(output, POINTS) == [STEP * number for number in (*range(1, 65), 66, 68)]
    output.commit(f"{POINTS}/{200 * STEP:012d}", "safetensors", b"", {})
    due = bench.worker(output, config, 300 * STEP)._cadences().points.is_due
    assert [number for number in (71, 199, 201, 203, 204, 205) if due(number * STEP)] == [204, 205]


def test_shares_of_time(bench: Bench, config: TrainConfig) -> None:
    """A step takes 3 s and a turn of the watcher 1 s; the rate is that of the steps."""
    clock = Clock()
    worker = bench.worker(bench.output("shares"), config, GOAL, clock=clock, watcher=Observer(clock))
    after_each_step(worker, lambda: setattr(clock, "now", clock.now + 3))
    worker.run()
    first, second = history_rows(worker.output)
    # The first row comes before the fifth turn.
    assert first["watch_share"] == pytest.approx(4 / 19)
    assert second["watch_share"] == pytest.approx(5 / 20)
    assert (first["images_per_second"], second["images_per_second"]) == (STEP / 3, STEP / 3)
    assert (first["data_share"], first["checkpoint_share"]) == (0, 0)
    assert first["peak_memory_bytes"] > 10**7


def test_a_run_short_of_data_says_so(bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.stages.train.worker.batches_ahead", lambda *_: 0)
    monkeypatch.setattr("flows.stages.train.worker.steps_per_block", lambda *_: 1)
    clock = Clock()
    worker = bench.worker(bench.output("starved"), config, GOAL, clock=clock)
    data = worker.data

    def slow(slots: Tensor) -> tuple[Tensor, Tensor]:
        clock.now += 1
        return data(slots)

    worker.data = slow
    after_each_step(worker, lambda: setattr(clock, "now", clock.now + 3))
    worker.run()
    assert [row["data_share"] for row in history_rows(worker.output)] == [0.25, 0.25]
    assert worker.beat()["data_share"] == 0.25
    assert worker.beat()["data_wait_s"] == clock.now / 4
    assert history_rows(worker.output)[0]["images_per_second"] == STEP / 4, "a step's rate includes the wait for data"


def test_rows_come_by_time_too(bench: Bench, config: TrainConfig) -> None:
    """Steps of 8 s pass 20 s after every third; the rows by images start the time anew."""
    config = config.model_copy(update={"history_seconds": 20.0})
    clock = Clock()
    worker = bench.worker(bench.output("rows"), config, GOAL, clock=clock)
    after_each_step(worker, lambda: setattr(clock, "now", clock.now + 8))
    worker.run()
    assert [row["images_seen"] // STEP for row in history_rows(worker.output)] == [3, 5, 8, 10]


def test_quarters_of_the_loss() -> None:
    """T = 10: t = 0..2 is the first quarter, 3..4 the second, 5..7 the third and 8..9 the last."""
    t = torch.arange(10)
    sums, counts = loss_by_quarter(t.float() + 1, t, 10)
    assert counts.tolist() == [3, 2, 3, 2]
    assert sums.tolist() == [1 + 2 + 3, 4 + 5, 6 + 7 + 8, 9 + 10]
    sums, counts = loss_by_quarter(torch.tensor([float("nan"), 2.0]), torch.tensor([0, 9]), 10)
    assert torch.isnan(sums).tolist() == [True, False, False, False]
    assert counts.tolist() == [1, 0, 0, 1]


def test_a_row_has_the_quarters_of_its_steps(bench: Bench, config: TrainConfig) -> None:
    """Their mean, weighed by their images, is the loss over all t."""
    worker = bench.worker(bench.output("quarters"), config, GOAL)
    seen: list[tuple[Tensor, Tensor]] = []
    step = worker.step

    def stepping(model: object, batch: object) -> object:
        result = step(model, batch)
        seen.append((result.losses, batch.noise.t))
        return result

    worker.step = stepping
    worker.run()
    losses, t = (torch.cat(parts) for parts in zip(*seen[5:], strict=True))
    row = history_rows(worker.output)[1]
    for quarter in range(4):
        chosen = losses[t * 4 // config.num_timesteps == quarter]
        assert row[f"loss_quarter_{quarter + 1}"] == pytest.approx(float(chosen.mean()), rel=1e-5)
    assert row["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
