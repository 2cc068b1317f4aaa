"""The factor of an interval is Student's, by SciPy."""

import pytest
from scipy.stats import norm, t

from infra.interval import TAIL, interval_factor


def test_the_tail_is_that_of_two_standard_deviations() -> None:
    assert pytest.approx(2 * norm.sf(2), rel=1e-12) == TAIL


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 31, 100, 255, 1000])
def test_the_factor_is_the_quantile_of_student(degrees: int) -> None:
    assert interval_factor(degrees) == pytest.approx(t.isf(TAIL / 2, degrees), rel=1e-7)


@pytest.mark.parametrize("degrees", [1.2, 1.5, 1.8, 2.3, 4.5, 9.5, 30.5])
def test_fractions_are_never_too_small_and_at_most_three_percent_too_large(degrees: float) -> None:
    assert 1 <= interval_factor(degrees) / t.isf(TAIL / 2, degrees) < 1.03


def test_many_terms_give_two() -> None:
    assert interval_factor(float("inf")) == interval_factor(1001) == 2.0
    assert t.isf(TAIL / 2, 1001) == pytest.approx(2, abs=3e-3)


@pytest.mark.parametrize("degrees", [0, 0.9, float("nan")])
def test_too_few(degrees: float) -> None:
    with pytest.raises(ValueError, match="at least 1 degree of freedom"):
        interval_factor(degrees)
