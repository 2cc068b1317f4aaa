import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ddpm_core.metrics.blocks import random_groups
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import jackknife, value_at_infinity

FINITE = st.floats(-100, 100)


def without(values: np.ndarray, groups: list[np.ndarray], figure) -> list[float]:
    return [float(figure(np.delete(values, group))) for group in groups]


def test_a_mean_has_its_standard_error_and_no_bias():
    values = np.random.default_rng(0).normal(size=30)
    singles = [np.array([i]) for i in range(30)]
    found = jackknife(values.mean(), without(values, singles, np.mean), [1] * 30)
    assert found.corrected == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(stats.sem(values))


def test_the_variance_over_n_becomes_that_over_n_less_1():
    """The jackknife removes a bias of order 1/N exactly."""
    values = np.random.default_rng(1).normal(size=25)
    singles = [np.array([i]) for i in range(25)]
    found = jackknife(values.var(), without(values, singles, np.var), [1] * 25)
    assert found.corrected == pytest.approx(values.var(ddof=1))


@given(sizes=st.lists(st.integers(1, 7), min_size=2, max_size=8))
def test_a_mean_of_unequal_groups_keeps_its_value(sizes):
    """For a mean the pseudo-values are the groups' means, weighted so that their mean is the whole's."""
    values = np.random.default_rng(2).normal(size=sum(sizes))
    groups = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    found = jackknife(float(values.mean()), without(values, groups, np.mean), sizes)
    assert found.corrected == pytest.approx(values.mean())
    n, means = sum(sizes), [values[group].mean() for group in groups]
    variance = np.mean([m / (n - m) * (mean - values.mean()) ** 2 for m, mean in zip(sizes, means, strict=True)])
    assert found.standard_error == pytest.approx(math.sqrt(variance))


@given(value=FINITE, left_out=st.lists(FINITE, min_size=2, max_size=9), size=st.integers(1, 50))
def test_equal_groups_extrapolate_along_the_line_in_1_over_n(value, left_out, size):
    groups = len(left_out)
    found = jackknife(value, left_out, [size] * groups)
    total = size * groups
    line = value_at_infinity([total, total - size], [value, float(np.mean(left_out))])
    assert found.corrected == pytest.approx(line, rel=1e-9, abs=1e-9)
    spread = (groups - 1) / groups * ((np.array(left_out) - np.mean(left_out)) ** 2).sum()
    assert found.standard_error == pytest.approx(math.sqrt(spread), rel=1e-6, abs=1e-9)


@given(limit=FINITE, slope=FINITE, counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=15, unique=True))
def test_points_on_a_line_give_its_limit(limit, slope, counts):
    found = value_at_infinity(counts, [limit + slope / n for n in counts])
    assert found == pytest.approx(limit, abs=1e-6 * (1 + abs(slope)))


def test_the_line_is_numpys():
    counts, values = [5000, 20000, 35000, 50000], [12.1, 9.7, 9.5, 9.3]
    slope, limit = np.polyfit(1 / np.array(counts), values, 1)
    assert value_at_infinity(counts, values) == pytest.approx(limit)
    assert slope > 0


class Gaussian:
    """Samples from N(0, scale^2) against a fixed reference N(0, 1), in four dimensions."""

    def __init__(self, scale: float, count: int, groups: int) -> None:
        self.scale, self.count, self.groups = scale, count, groups
        eye = torch.eye(4, dtype=torch.float64)
        self.reference = FeatureStats(count=10**6, total=torch.zeros(4).double(), outer=(10**6 - 1) * eye)
        self.truth = 4 * (scale - 1) ** 2

    def stats(self, seed: int) -> list[FeatureStats]:
        drawn = self.scale * torch.randn(self.count, 4, generator=torch.Generator().manual_seed(seed)).double()
        rows = random_groups(seed, self.count, 0, self.groups)
        return [FeatureStats.empty(4).update(drawn[group]) for group in rows]

    def distance(self, stats_: FeatureStats) -> float:
        return frechet_distance(stats_, self.reference)

    def jackknife(self, seed: int):
        groups = self.stats(seed)
        total = FeatureStats.empty(4)
        for group in groups:
            total = total.merge(group)
        left_out = [self.distance(total.without(group)) for group in groups]
        return jackknife(self.distance(total), left_out, [group.count for group in groups])


def test_95_of_100_intervals_of_a_frechet_distance_hold_its_mean_and_its_limit():
    """200 simulations of 300 samples in 10 groups; 95 % would be 190 and three standard deviations 10.

    The mean at that N is taken over the same simulations, the limit is a closed form. Without the correction the
    interval around the value misses the limit more often.
    """
    world, reach = Gaussian(1.5, 300, 10), stats.t.ppf(0.975, 9)
    found = [world.jackknife(seed) for seed in range(200)]
    mean = np.mean([one.value for one in found])
    held = sum(abs(one.value - mean) <= reach * one.standard_error for one in found)
    at_limit = sum(abs(one.corrected - world.truth) <= reach * one.standard_error for one in found)
    assert abs(held - 190) <= 10
    assert abs(at_limit - 190) <= 10
    corrected = np.array([one.corrected for one in found])
    assert mean - world.truth > 3 * stats.sem([one.value for one in found])
    assert abs(corrected.mean() - world.truth) < 3 * stats.sem(corrected)


def test_statistics_without_a_part_are_those_of_the_rest():
    whole = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double() + 5
    total, part = FeatureStats.empty(3).update(whole), FeatureStats.empty(3).update(whole[10:30])
    rest = FeatureStats.empty(3).update(torch.cat((whole[:10], whole[30:])))
    left = total.without(part)
    assert left.count == rest.count
    torch.testing.assert_close(left.mean, rest.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(left.covariance, rest.covariance, rtol=1e-11, atol=1e-12)


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="at least 2 groups with their sizes; got 1 and 1"):
        jackknife(1.0, [1.0], [5])
    with pytest.raises(ValueError, match="at least 2 groups with their sizes; got 2 and 3"):
        jackknife(1.0, [1.0, 2.0], [5, 5, 5])
    with pytest.raises(ValueError, match="two or more numbers of images; got 1"):
        value_at_infinity([10, 10], [1.0, 2.0])
