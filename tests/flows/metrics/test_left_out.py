"""Distances with groups of samples left out: when there are any; `test_distance.py` has their values."""

import pytest

from flows.metrics.left_out import fewest_samples, is_wide_enough


@pytest.mark.parametrize(
    ("count", "dimensions", "expected"), [(50_000, 2048, True), (2048, 2048, False), (24, 64, False)]
)
def test_a_part_must_span_all_dimensions(count: int, dimensions: int, expected: bool) -> None:
    assert is_wide_enough(count, dimensions) == expected


def test_the_bound_is_exact() -> None:
    """20 groups of 5 leave 95 of 100: full rank up to 94 dimensions, since a mean takes one."""
    assert is_wide_enough(100, 94)
    assert not is_wide_enough(100, 95)


@pytest.mark.parametrize("dimensions", [1, 18, 19, 64, 2023, 2048])
def test_the_fewest_samples_are_the_first_that_are_enough(dimensions: int) -> None:
    enough = [is_wide_enough(count, dimensions) for count in range(1, 2300)]
    assert enough.index(True) + 1 == fewest_samples(dimensions)
    assert all(enough[fewest_samples(dimensions) :])
    assert all(count // 20 * 19 > dimensions for count, wide in enumerate(enough, 1) if wide)
