import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics.pairwise import polynomial_kernel as by_sklearn

from ddpm_core.metrics.blocks import random_blocks
from ddpm_core.metrics.kernel import block_size, kernel_distance, polynomial_kernel, squared_mmd


def normal(seed: int, count: int, dim: int, mean=0.0, scale=1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def by_loops(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate, pair by pair."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(a * b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def expected_kernel(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """E (x.y / d + 1)^3 of independent x ~ N(mean_a, cov_a) and y ~ N(mean_b, cov_b).

    Given y, x.y is normal with mean a = mean_a.y and variance v = y' cov_a y, so that E (x.y)^3 = E (a^3 + 3 a v).
    """
    d, product = len(mean_a), mean_a @ mean_b
    variance = mean_a @ cov_b @ mean_a
    quadratic = np.trace(cov_a @ cov_b) + mean_b @ cov_a @ mean_b
    first, second = product / d, (product**2 + variance + quadratic) / d**2
    mixed = product * quadratic + 2 * mean_a @ cov_b @ cov_a @ mean_b
    third = (product**3 + 3 * product * variance + 3 * mixed) / d**3
    return third + 3 * second + 3 * first + 1


def expected_distance(mean_a, cov_a, mean_b, cov_b) -> float:
    within = expected_kernel(mean_a, cov_a, mean_a, cov_a) + expected_kernel(mean_b, cov_b, mean_b, cov_b)
    return within - 2 * expected_kernel(mean_a, cov_a, mean_b, cov_b)


def test_the_kernel_is_sklearns_of_degree_3():
    x, y = normal(0, 9, 5), normal(1, 7, 5)
    np.testing.assert_allclose(polynomial_kernel(x, y).numpy(), by_sklearn(x.numpy(), y.numpy(), degree=3, coef0=1))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 5), (6, 3)])
def test_the_estimate_equals_a_sum_over_pairs(n, m):
    x, y = normal(0, n, 4, mean=1), normal(1, m, 4, scale=2)
    assert squared_mmd(x, y) == pytest.approx(by_loops(x.numpy(), y.numpy()), rel=1e-12)


def test_one_number_of_vectors_alone_has_a_closed_form():
    """d = 1, x = (a, b), y = (c, e): k(a, b) + k(c, e) - the mean of the four cross terms."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[-1.0], [2.0]])
    within_x, within_y, across = 1, -1, (1 + 1 + 0 + 27) / 4
    assert squared_mmd(x, y) == pytest.approx(within_x + within_y - 2 * across)


def test_the_mean_over_many_draws_is_the_expectation():
    """The closed form for Gaussians whose covariances do not commute; also that no bias depends on the block size."""
    generator = np.random.default_rng(0)
    mean_a, mean_b = np.array([0.5, -1.0, 0.3]), np.array([0.2, -0.4, 1.0])
    root_a, root_b = generator.normal(size=(3, 3)), generator.normal(size=(3, 3)) + np.eye(3)
    truth = expected_distance(mean_a, root_a @ root_a.T, mean_b, root_b @ root_b.T)
    for size in (4, 50):
        draws = [
            squared_mmd(
                torch.from_numpy(mean_a + generator.normal(size=(size, 3)) @ root_a.T),
                torch.from_numpy(mean_b + generator.normal(size=(size, 3)) @ root_b.T),
            )
            for _ in range(3000)
        ]
        assert abs(np.mean(draws) - truth) < 4 * stats.sem(draws)


def test_float32_features_are_compared_in_float64():
    """At a mean of 30 the kernels are near 2 * 10^8 and their difference below 10^5: float32 would lose it."""
    x, y = normal(0, 40, 16, mean=30).float(), normal(1, 40, 16, mean=30).float()
    expected = by_loops(x.double().numpy(), y.double().numpy())
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-7)


@given(count=st.integers(2, 10**6))
def test_ten_blocks_or_more_from_20_rows_on(count):
    size = block_size(count)
    assert 2 <= size <= min(1000, count)
    assert count // size >= 10 or count < 20
    assert size == 1000 or count < 10_010


def test_95_of_100_intervals_hold_the_truth():
    """300 simulations with 10 blocks of 40 against Student's t; 95 % would be 285 and three standard deviations 11."""
    mean_a, mean_b = np.full(8, 0.3), np.zeros(8)
    truth = expected_distance(mean_a, np.eye(8), mean_b, 1.44 * np.eye(8))
    reach = stats.t.ppf(0.975, 9)
    held = 0
    for seed in range(300):
        x, y = normal(2 * seed, 400, 8, mean=0.3), normal(2 * seed + 1, 400, 8, scale=1.2)
        pairs = zip(random_blocks(seed, 400, 0, 40), random_blocks(seed, 400, 1, 40), strict=True)
        found = kernel_distance([squared_mmd(x[rows], y[others]) for rows, others in pairs])
        held += abs(found.value - truth) <= reach * found.standard_error
    assert abs(held - 285) <= 11


def test_contiguous_blocks_of_a_class_ordered_set_would_find_a_distance_that_is_not_there():
    """Two draws of the same ten classes, one side in order: random blocks find 0, contiguous ones do not."""
    centres = 2 * normal(0, 10, 8)
    ordered, mixed = torch.arange(2000) // 200, torch.randperm(2000, generator=torch.Generator().manual_seed(1)) // 200
    x, y = centres[ordered] + normal(2, 2000, 8), centres[mixed] + normal(3, 2000, 8)
    blocks = random_blocks(0, 2000, 0, 200)
    random = kernel_distance([squared_mmd(x[rows], part) for rows, part in zip(blocks, y.split(200), strict=True)])
    contiguous = kernel_distance([squared_mmd(a, b) for a, b in zip(x.split(200), y.split(200), strict=True)])
    assert abs(random.value) < 3 * random.standard_error
    assert contiguous.value > 20 * abs(random.value)


def test_sides_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="features must have the same dimension; got 3 and 4"):
        squared_mmd(normal(0, 5, 3), normal(1, 5, 4))
    with pytest.raises(ValueError, match="at least 2 feature vectors on each side; got 5 and 1"):
        squared_mmd(normal(0, 5, 3), normal(1, 1, 3))
    broken = normal(0, 5, 3)
    broken[2, 1] = math.nan
    with pytest.raises(ValueError, match="features must be finite; their kernels are not"):
        squared_mmd(broken, normal(1, 5, 3))
    with pytest.raises(ValueError, match="at least 2 feature vectors on each side; got 1"):
        block_size(1)
