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


def test_the_same_inputs_are_nearer_than_others() -> None:
    """One recipe on larger images has another rate."""
    long = replace(MEASURED, inputs=("cd",), done=1000, wall_s=1000.0)
    assert seconds(replace(LEFT, inputs=("ab",)), MEASURED, long) == 50.0
    assert seconds(replace(LEFT, inputs=("cd",)), MEASURED, long) == 250.0


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


@pytest.mark.parametrize(("unit", "total"), [("units", 12), ("images", None), ("units", None)])
def test_only_the_attempts_that_led_to_one_sealed_output_count(unit: str, total: int | None) -> None:
    left = replace(LEFT, unit=unit, done=0, total=total)
    first = replace(MEASURED, unit=unit, done=12, wall_s=60.0, output="sample/ab")
    forced = [replace(first, output=f"sample/ab.{number}", forced=True) for number in (1, 2)]
    again = replace(first, wall_s=60.0)  # the output was removed meanwhile
    assert seconds(left, first, *forced) == 60.0, "--force twice"
    assert seconds(left, first, again, again) == 60.0, "removed twice"
    stopped = replace(first, outcome="stopped", done=4, wall_s=30.0)
    assert seconds(left, stopped, replace(first, start=4, wall_s=40.0)) == 70.0, "both led to it"
    unknown = replace(stopped, output="")
    assert seconds(left, unknown, replace(first, start=4, wall_s=40.0)) == 70.0, "killed before it knew its output"
    later = replace(stopped, start=12, done=13)
    assert seconds(left, first, later) == 60.0, "what came after the seal did not lead to it"


def test_a_longer_goal_goes_on_from_a_sealed_one() -> None:
    longer = replace(MEASURED, start=100, done=300, wall_s=80.0, output_bytes=12000)
    found = expect(replace(LEFT, done=0), [MEASURED, longer])
    assert found is not None
    assert (found.seconds, found.bytes) == (100.0, 12000)


def test_the_size_is_known_although_a_longer_attempt_was_killed() -> None:
    forced = replace(MEASURED, output="sample/ab.1", forced=True, outcome="", wall_s=90.0, output_bytes=0)
    found = expect(LEFT, [replace(MEASURED, output="sample/ab"), forced])
    assert found is not None
    assert (found.seconds, found.bytes) == (50.0, 12000)


def seconds(left: Left, *attempts: Attempt) -> float | None:
    found = expect(left, attempts)
    return None if found is None else found.seconds
