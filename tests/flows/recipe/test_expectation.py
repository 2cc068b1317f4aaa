"""The expected time and space are those of measured work, scaled by its amount and by nothing else."""

from dataclasses import replace

import pytest

from flows.recipe.expectation import Left, expect
from infra.outputs.costs import Attempt

USUAL = {"num_steps": 0, "seed": 0}
MEASURED = Attempt(
    stage="sample",
    run="digits-1a2b3c4d",
    settings={"num_steps": 5},
    inputs=("ab",),
    outcome="sealed",
    unit="images",
    done=100,
    wall_s=20.0,
    output_bytes=4000,
)
LEFT = Left(settings={"num_steps": 5}, usual=USUAL, done=50, total=300, grows=True)


def test_the_same_settings_scaled_by_the_amount_of_work() -> None:
    found = expect(LEFT, [MEASURED])
    assert found is not None
    assert (found.seconds, found.bytes, found.run, found.unlike) == (50.0, 12000, "digits-1a2b3c4d", {})


def test_a_network_is_no_larger_after_more_images() -> None:
    found = expect(replace(LEFT, grows=False), [MEASURED])
    assert found is not None
    assert found.bytes == 4000


def test_attempts_at_one_work_are_taken_together() -> None:
    stopped = replace(MEASURED, outcome="stopped", done=50, wall_s=30.0, output_bytes=0)
    found = expect(LEFT, [stopped, replace(MEASURED, start=50)])
    assert found is not None
    assert found.seconds == 250 * (30.0 + 20.0) / 100


def test_the_nearest_settings_and_how_they_differ() -> None:
    far = replace(MEASURED, settings={"num_steps": 50, "seed": 3}, wall_s=1.0)
    near = replace(MEASURED, settings={}, wall_s=2000.0)
    found = expect(LEFT, [far, near])
    assert found is not None
    assert found.unlike == {"num_steps": (0, 5)}
    assert found.seconds == 5000.0
    assert expect(LEFT, [far, near, MEASURED]) == expect(LEFT, [MEASURED])


def test_of_equally_near_ones_the_longest_is_the_most_certain() -> None:
    long = replace(MEASURED, inputs=("cd",), done=1000, wall_s=100.0)
    found = expect(LEFT, [MEASURED, long])
    assert found is not None
    assert found.seconds == 25.0


@pytest.mark.parametrize(
    "attempts",
    [[], [replace(MEASURED, done=0)], [replace(MEASURED, wall_s=0.0)]],
    ids=["nothing ran", "nothing was counted", "it took no time"],
)
def test_nothing_is_invented(attempts: list[Attempt]) -> None:
    assert expect(LEFT, attempts) is None


def test_units_are_shares_of_a_whole_that_was_sealed() -> None:
    whole = replace(MEASURED, unit="units", done=12)
    left = replace(LEFT, unit="units", done=3, total=4)
    found = expect(left, [whole])
    assert found is not None
    assert found.seconds == 5.0, "a quarter"
    assert expect(left, [replace(whole, outcome="stopped")]) is None, "a part of nobody knows how much"
    unknown = expect(replace(left, done=0, total=None), [whole])
    assert unknown is not None
    assert unknown.seconds == 20.0
