"""The standard error of a difference, paired and unpaired, by closed form; and the verdict that follows."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from flows.comparison.difference import Difference, Verdict, difference
from flows.comparison.measurement import Measurement
from infra.interval import interval_factor


def of_terms(terms: list[float], *, paired: bool = True) -> Measurement:
    values = np.asarray(terms, np.float64)
    return Measurement(
        name="bits_per_dim_x",
        value=float(values.mean()),
        standard_error=float(values.std(ddof=1) / math.sqrt(len(values))),
        terms=len(values),
        per_image=values if paired else None,
    )


FIRST, SECOND = [3.0, 5.0, 4.0, 8.0], [3.5, 5.25, 4.5, 8.75]


class TestStandardError:
    def test_paired_is_that_of_the_mean_of_differences(self) -> None:
        """The differences are 0.5, 0.25, 0.5, 0.75: mean 0.5, variance 0.125 / 3."""
        found = difference(of_terms(FIRST), of_terms(SECOND))
        assert found.value == 0.5
        assert found.standard_error == pytest.approx(math.sqrt(0.125 / 3 / 4), rel=1e-12)
        assert (found.paired, found.factor) == (4, interval_factor(3))
        test = stats.ttest_rel(SECOND, FIRST)
        assert found.value / found.standard_error == pytest.approx(test.statistic, rel=1e-12)
        assert found.verdict == Verdict.BEYOND
        assert test.pvalue < 0.0455

    def test_unpaired_adds_the_variances(self) -> None:
        first, second = of_terms(FIRST, paired=False), of_terms([4.5, 5.0, 9.0], paired=False)
        found = difference(first, second)
        test = stats.ttest_ind([4.5, 5.0, 9.0], FIRST, equal_var=False)
        assert found.standard_error == pytest.approx(found.value / test.statistic, rel=1e-12)
        assert found.standard_error == pytest.approx(math.hypot(first.standard_error, second.standard_error))
        assert (found.paired, found.factor) == (0, interval_factor(test.df))
        assert found.verdict == Verdict.WITHIN

    def test_several_trainings_add_their_spread_on_each_side(self) -> None:
        """The paired part is sqrt(0.125 / 12) from 4 images; the networks add 0.3 from 3 and 0.4 from 2."""
        sides = (replace(of_terms(FIRST), networks=3, between=0.3), replace(of_terms(SECOND), networks=2, between=0.4))
        found = difference(*sides)
        images = 0.125 / 3 / 4
        assert found.standard_error == pytest.approx(math.sqrt(images + 0.09 + 0.16), rel=1e-12)
        degrees = (images + 0.25) ** 2 / (images**2 / 3 + 0.09**2 / 2 + 0.16**2 / 1)
        assert found.factor == pytest.approx(interval_factor(degrees), rel=1e-12)
        assert found.paired == 4
        assert found.verdict == Verdict.WITHIN

    def test_one_training_beside_several_has_no_interval(self) -> None:
        found = difference(of_terms(FIRST), replace(of_terms(SECOND), networks=2, between=0.1))
        assert found.verdict == Verdict.NO_INTERVAL
        assert found.remark == "trainings 1 against 2: one alone has no spread"

    def test_one_side_without_terms_is_unpaired(self) -> None:
        found = difference(of_terms(FIRST), of_terms(SECOND, paired=False))
        assert found.paired == 0
        assert found.verdict == Verdict.WITHIN  # what the paired interval resolves is lost

    def test_an_error_of_unknown_terms_counts_as_one_of_many(self) -> None:
        first = Measurement(name="x", value=1.0, standard_error=0.3)
        found = difference(first, Measurement(name="x", value=2.0, standard_error=0.4))
        assert (found.standard_error, found.factor, found.interval) == (0.5, 2.0, 1.0)
        assert found.verdict == Verdict.WITHIN  # not beyond: 1.0 is the interval itself

    def test_without_an_error_there_is_no_interval(self) -> None:
        first = Measurement(name="x", value=1.0, standard_error=0.3)
        found = difference(first, Measurement(name="x", value=9.0))
        assert (found.value, found.standard_error, found.interval) == (8.0, None, None)
        assert found.verdict == Verdict.NO_INTERVAL

    def test_a_figure_says_what_its_error_needs(self) -> None:
        first = Measurement(name="fid", value=1.0, error_needs="2,160 samples", remarks={"num_timesteps": 20})
        found = difference(first, Measurement(name="fid", value=9.0, remarks={"num_timesteps": 40}))
        assert found.verdict == Verdict.NO_INTERVAL
        assert found.remark == "a standard error needs 2,160 samples; T 20 against 40"


class TestVerdict:
    def test_unlike_values_have_no_interval(self) -> None:
        first = Measurement(name="fid", value=1.0, standard_error=0.1, conditions={"samples": 512})
        second = Measurement(name="fid", value=9.0, standard_error=0.1, conditions={"samples": 5000})
        found = difference(first, second)
        assert (found.value, found.standard_error, found.verdict) == (8.0, None, Verdict.UNLIKE)
        assert found.unlike == "N 512 against 5,000: a Fréchet distance is biased by N"

    def test_the_same_terms_are_equal(self) -> None:
        assert difference(of_terms(FIRST), of_terms(FIRST)).verdict == Verdict.EQUAL
        same = Measurement(name="fid", value=1.0)
        assert difference(same, same).verdict == Verdict.EQUAL

    def test_equal_values_with_an_error_are_within(self) -> None:
        same = Measurement(name="fid", value=1.0, standard_error=0.1)
        assert difference(same, same).verdict == Verdict.WITHIN

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_not_finite_has_no_interval(self, value: float) -> None:
        assert Difference(value=value, standard_error=1.0).verdict == Verdict.NO_INTERVAL
        assert Difference(value=1.0, standard_error=value).verdict == Verdict.NO_INTERVAL

    def test_a_remark_is_kept(self) -> None:
        first = Measurement(name="x", value=1.0, standard_error=0.1, remarks={"num_timesteps": 20})
        second = Measurement(name="x", value=2.0, standard_error=0.1, remarks={"num_timesteps": 40})
        found = difference(first, second)
        assert (found.verdict, found.remark) == (Verdict.BEYOND, "T 20 against 40")
