"""Measuring in turn: one slice at a time, for a share of the time, and whatever happens training goes on."""

from collections.abc import Generator, Sequence
from typing import Any

import pytest
import torch

from flows.artifacts import Dataset
from flows.points import PointFigures
from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.turn import TurnWatcher, left_out, make_watcher
from flows.stages.train.watch.watcher import Unwatched
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun

STEP_S, SLICE_S, SLICES = 1.0, 0.5, 4
RESULT = Measured(figures=PointFigures(split="test", images=1), tensors={})


class Bench:
    """A watcher on a clock of its own; a slice takes half a second, a point four slices."""

    def __init__(self, share: float = 0.05, slice_s: float = SLICE_S, **points: Sequence[int]) -> None:
        self.now_s, self.slices, self.slice_s = 0.0, 0, slice_s
        self.committed: list[int] = []
        self.begun: list[tuple[int, float]] = []
        self.watcher = TurnWatcher(
            self.measure, self.commit, self.read, share=share, clock=lambda: self.now_s, **points
        )

    def measure(self, images_seen: int, weights: Any) -> Generator[None, None, Measured]:
        self.begun.append((images_seen, weights["w"].item()))
        for _ in range(SLICES):
            self.slices += 1
            self.now_s += self.slice_s
            yield
        return RESULT

    def commit(self, images_seen: int, measured: Measured) -> None:
        assert measured is RESULT
        self.committed.append(images_seen)

    def read(self, images_seen: int) -> dict[str, torch.Tensor]:
        return {"w": torch.tensor(float(images_seen))}

    def point(self, images_seen: int) -> None:
        self.watcher.point(images_seen, {"w": torch.tensor(float(images_seen))})

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.now_s += STEP_S
            before_s = self.now_s
            self.watcher.turn()
            assert self.now_s - before_s < 0.5 + self.slice_s, "no long pause at a time"


class Raises:
    """A commit that fails each time."""

    def __init__(self, error: Exception) -> None:
        self.error, self.times = error, 0

    def __call__(self, *_: object) -> None:
        self.times += 1
        raise self.error


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_the_share_is_kept(share: float) -> None:
    bench = Bench(share)
    for number in range(1, 400):
        if number % 10 == 0:
            bench.point(number)
        bench.steps(1)
        assert bench.watcher.spent_s <= share * bench.now_s + SLICE_S
    assert bench.watcher.spent_s > 0.5 * share * bench.now_s, "and it is used"
    assert bench.committed


def test_short_slices_share_a_turn_so_that_quick_points_are_all_measured() -> None:
    bench = Bench(share=0.05, slice_s=0.01)
    for place in range(10, 400, 10):
        bench.steps(10)
        bench.point(place)
    bench.steps(10)
    assert bench.committed == list(range(10, 400, 10))


def test_the_newest_point_goes_first_and_the_rest_follows_at_the_end() -> None:
    bench = Bench(share=0.05)
    bench.steps(11)
    for place in (10, 20, 30, 40):
        bench.point(place)
        if place == 10:
            bench.steps(1)
    bench.steps(70)
    assert bench.committed == [10, 40], "the one in hand is finished; of those that wait the newest is next"
    bench.point(50)
    bench.now_s += 200
    bench.watcher.finish()
    assert bench.committed == [10, 40, 50, 30, 20]
    assert all(weight == place for place, weight in bench.begun), "each with its own weights"
    assert bench.watcher.lines() == ()


def test_points_for_which_no_time_is_left_are_named() -> None:
    bench = Bench(share=0.01, slice_s=2.0)
    for place in (10, 20, 30):
        bench.point(place)
    bench.watcher.finish()
    assert bench.committed == [30]
    (line,) = bench.watcher.lines()
    assert line == "the points at 10, 20 images have no figures: train.watch_share left no time"
    assert left_out([20], "why") == "the point at 20 images has no figures: why"


def test_points_of_earlier_attempts_are_measured_once() -> None:
    bench = Bench(earlier=[10, 20])
    bench.now_s += 200
    bench.point(20)
    bench.watcher.finish()
    assert bench.committed == [20, 10]


def test_a_point_that_was_measured_is_not_measured_again() -> None:
    """An attempt from an earlier checkpoint comes by the same points, also by one that it has in hand."""
    bench = Bench(share=0.05, measured=[10])
    bench.point(10)
    bench.steps(11)
    bench.point(20)
    bench.steps(1)
    bench.point(20)
    bench.watcher.finish()
    assert bench.committed == [20]
    assert [place for place, _ in bench.begun] == [20]


def test_a_store_that_is_away_costs_no_point() -> None:
    bench, honest = Bench(share=0.5), Bench.commit
    bench.watcher._commit = fail = Raises(StorageError("does not answer"))
    bench.point(10)
    bench.steps(20)
    assert fail.times == 1, "and training is held up once per half a minute"
    bench.watcher._commit = lambda *of: honest(bench, *of)
    bench.steps(40)
    assert bench.committed == [10]
    assert bench.watcher.lines() == ()


def test_a_store_that_stays_away_is_the_reason_that_is_given() -> None:
    bench = Bench(share=0.5)
    bench.watcher._commit = Raises(StorageError("does not answer"))
    bench.point(10)
    bench.watcher.finish()
    assert bench.watcher.lines() == ("the point at 10 images has no figures: does not answer",)


def test_a_run_that_is_stopped_measures_no_more() -> None:
    bench = Bench(share=0.5)
    bench.point(10)
    bench.point(20)
    bench.watcher.finish(lambda: bench.slices >= 2)
    assert bench.slices == 2
    assert bench.watcher.lines() == ("the points at 10, 20 images have no figures: the run was stopped",)


def test_the_last_point_is_measured_after_the_last_step() -> None:
    bench = Bench(share=0.05)
    bench.steps(200)
    bench.point(200)
    bench.watcher.finish()
    assert bench.committed == [200]
    assert bench.watcher.lines() == ()


def test_a_long_last_point_is_left_out_at_its_bound() -> None:
    bench = Bench(share=0.05, slice_s=4.0)
    bench.steps(100)
    bench.point(100)
    bench.watcher.finish()
    assert bench.committed == []
    assert 100 + 10 <= bench.now_s <= 100 + 10 + 4, "ten seconds and the rest of a slice"
    (line,) = bench.watcher.lines()
    assert line.startswith("the point at 100 images has no figures: train.watch_share left no time")


def test_the_last_point_goes_before_an_older_one_in_hand() -> None:
    bench = Bench(share=0.2)
    bench.steps(10)
    bench.point(10)
    bench.steps(1)
    bench.point(11)
    bench.now_s += 50
    bench.watcher.finish()
    assert bench.committed == [11, 10]
    assert [place for place, _ in bench.begun] == [10, 11, 10]


@pytest.mark.parametrize("where", ["measure", "commit"])
def test_an_error_costs_the_point_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(share=0.3)

    def fail(*_: object) -> Any:
        raise RuntimeError("out of memory\nand much more")

    if where == "commit":
        bench.watcher._commit = fail
    else:
        honest, bench.watcher._measure = bench.watcher._measure, fail
    bench.point(10)
    bench.steps(60)
    assert bench.watcher.lines() == ("the point at 10 images has no figures: out of memory",)
    if where == "measure":
        bench.watcher._measure = honest
        bench.point(20)
        bench.steps(60)
        assert bench.committed == [20]


def test_only_an_assignment_that_says_so_is_watched_in_turn(tiny_run: TinyRun) -> None:
    dataset: Dataset = tiny_run.dataset
    plan = Plan(stage="train", format_version=1, settings={}, inputs={})
    output = Output(store=tiny_run.store, plan=plan)
    off = Assignment(config=tiny_run.config.train, dataset=dataset, output=output)
    on = Assignment(config=tiny_run.config.train, dataset=dataset, output=output, watching=True)
    assert isinstance(make_watcher(off, torch.device("cpu")), Unwatched)
    assert isinstance(make_watcher(on, torch.device("cpu")), TurnWatcher)
