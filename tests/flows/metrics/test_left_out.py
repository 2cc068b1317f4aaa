"""Distances with groups of samples left out: when there are any; `test_distance.py` has their values."""

import pytest

from flows.metrics.left_out import is_wide_enough


@pytest.mark.parametrize(
    ("count", "dimensions", "expected"), [(50_000, 2048, True), (2048, 2048, False), (24, 64, False)]
)
def test_a_part_must_span_all_dimensions(count: int, dimensions: int, expected: bool) -> None:
    assert is_wide_enough(count, dimensions) == expected


def test_the_bound_is_exact() -> None:
    """20 groups of 5 leave 95 of 100: full rank up to 94 dimensions, since a mean takes one."""
    assert is_wide_enough(100, 94)
    assert not is_wide_enough(100, 95)
