"""Something is due when a multiple of images is crossed or some time has passed since the last."""

import itertools
from collections.abc import Sequence

import pytest

from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS_APART, Cadence, crossed, images_between_points


def test_when_the_next_is_due_by_time() -> None:
    now = [5.0]
    cadence = Cadence(16, 10**9, 60, lambda: now[0])
    due = []
    for now[0] in (5, 64.9, 65, 70):
        due.append(cadence.is_due(16))
    assert not cadence.is_due(16, by_time=False)
    cadence.restart()
    for now[0] in (71, 129.9, 130):
        due.append(cadence.is_due(16))
    assert due == [False, False, True, True, False, False, True]


def test_a_multiple_is_crossed_wherever_the_attempt_started() -> None:
    """Steps of 16 cross multiples of 25 at 32, 64 (50) and 80 (75)."""
    assert [seen for seen in range(16, 97, 16) if crossed(seen, 16, 25)] == [32, 64, 80]
    assert all(crossed(seen, 16, 1) for seen in (16, 32))


def test_the_time_between_two_grows_with_the_time_so_far() -> None:
    """At a hundredth of the time, those after 1 s, 2 s, ... 100 s are followed by one at 101.01 s, 102.03 s, ..."""
    now = [0.0]
    cadence = Cadence(16, 10**9, 1, lambda: now[0], least_share=0.01)
    taken = 0
    for tick in range(1, 400_000):
        now[0] = tick / 100
        if cadence.time_is_over():
            cadence.restart()
            taken += 1
    # 100 to the time of 100 s, then ln(4000 / 100) / ln(1 / 0.99) up to 4000 s.
    assert taken == pytest.approx(100 + 367, abs=5)


def points_by_time(hours: int, starts: Sequence[int]) -> list[int]:
    """The places of points that are due every half hour, at 16 images per minute; the run starts at some minutes."""
    now, taken, cadence = [0.0], [], None
    for minute in range(60 * hours):
        if minute in starts:
            cadence = Cadence(16, 10**9, 1800, lambda: now[0], apart=POINTS_APART, last_images=max(taken, default=0))
        now[0] += 60
        if cadence.is_due(seen := 16 * (minute + 1)):
            cadence.restart(seen)
            taken.append(seen)
    return taken


def test_points_by_time_come_farther_apart_in_a_long_run_and_restarts_add_none() -> None:
    """Until 32 hours every half hour; after that each is 64/63 of the one before: 64 + ln(336 / 32) / ln(64 / 63)."""
    straight = points_by_time(14 * 24, [0])
    assert straight[:64] == [16 * 30 * number for number in range(1, 65)]
    assert len(straight) == pytest.approx(64 + 149, abs=6)
    assert all(after - before >= after / 64 for before, after in itertools.pairwise(straight))
    hourly = points_by_time(14 * 24, range(0, 14 * 24 * 60, 60))
    assert 0.8 * len(straight) < len(hourly) <= len(straight)
    assert points_by_time(17, [0]) == [16 * 30 * number for number in range(1, 35)]


def test_points_by_images_come_however_close() -> None:
    cadence = Cadence(16, 32, 1e9, lambda: 0.0, apart=POINTS_APART, last_images=10**6)
    assert [seen for seen in range(16, 97, 16) if cadence.is_due(seen)] == [32, 64, 96]


def test_points_are_eighths_of_the_goal_unless_it_is_said(config: TrainConfig) -> None:
    config = config.model_copy(update={"images": 1000})
    assert images_between_points(config) == 1008 // 8, "of the goal in whole steps of 16"
    assert images_between_points(config.model_copy(update={"watch_images": 48})) == 48
    assert images_between_points(config.model_copy(update={"images": 1, "batch_size": 1})) == 1
