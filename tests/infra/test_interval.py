"""The factor of an interval is Student's, and its degrees of freedom are Welch's, by SciPy."""

import math

import pytest
from scipy.stats import norm, sem, t, ttest_ind

from infra.interval import TAIL, degrees_of_difference, interval_factor


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


FIRST, SECOND = [3.0, 5.0, 4.0, 8.0], [4.5, 5.0, 9.0]


def test_degrees_of_a_difference_are_welchs() -> None:
    parts = [(float(sem(values)), len(values)) for values in (FIRST, SECOND)]
    assert degrees_of_difference(parts) == pytest.approx(ttest_ind(SECOND, FIRST, equal_var=False).df)


def test_an_error_of_unknown_terms_counts_as_one_of_many() -> None:
    """It then is a constant beside the other one, whose part of the variance has its own degrees."""
    assert degrees_of_difference([(0.3, None), (0.4, None)]) == math.inf
    assert degrees_of_difference([(0.0, None), (0.4, 10)]) == pytest.approx(9)
    assert degrees_of_difference([(0.4, None), (0.4, 10)]) == pytest.approx(4 * 9)


@pytest.mark.parametrize("error", [0.0, math.inf, math.nan])
def test_an_error_without_spread_or_end_has_no_few_degrees(error: float) -> None:
    assert degrees_of_difference([(error, 10), (error, 10)]) == math.inf


@pytest.mark.parametrize("degrees", [0, 0.9, float("nan")])
def test_too_few(degrees: float) -> None:
    with pytest.raises(ValueError, match="at least 1 degree of freedom"):
        interval_factor(degrees)
