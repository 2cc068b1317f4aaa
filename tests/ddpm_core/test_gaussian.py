import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from torch.distributions import Normal, kl_divergence

from ddpm_core.gaussian import NormalCdf, discretized_gaussian_log_likelihood, normal_cdf, normal_kl

GRID = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_likelihood(x, mean, std, cdf=NormalCdf.EXACT):
    x = torch.as_tensor(x)
    return discretized_gaussian_log_likelihood(x, torch.full_like(x, mean), torch.full_like(x, std).log(), cdf=cdf)


@pytest.mark.parametrize(
    ("mean_1", "std_1", "mean_2", "std_2"),
    [(0, 1, 0, 1), (0, 1, 1, 1), (0.3, 0.5, -0.2, 2), (1, 2, 1, 0.5), (-3, 0.1, -3.05, 0.12)],
)
def test_kl_equals_the_integral(mean_1, std_1, mean_2, std_2):
    p, q = stats.norm(mean_1, std_1), stats.norm(mean_2, std_2)
    integral, _ = quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), mean_1 - 12 * std_1, mean_1 + 12 * std_1, epsabs=1e-12
    )
    found = normal_kl(doubles(mean_1), doubles(std_1**2).log(), doubles(mean_2), doubles(std_2**2).log())
    assert float(found) == pytest.approx(integral, abs=1e-10)


def test_kl_equals_torchs_and_broadcasts_one_variance_over_an_image():
    generator = torch.Generator().manual_seed(0)
    mean_1, mean_2 = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    log_1, log_2 = (torch.randn(3, 1, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = kl_divergence(Normal(mean_1, (log_1 / 2).exp()), Normal(mean_2, (log_2 / 2).exp()))
    torch.testing.assert_close(normal_kl(mean_1, log_1, mean_2, log_2), expected)


@pytest.mark.parametrize("difference", [1e-3, 1e-6, -1e-6])
def test_kl_keeps_its_digits_where_variances_are_close(difference):
    """(e^d - 1 - d) / 2 = d^2/4 + d^3/12 + ...; exp(d) - 1 - d would lose half the digits."""
    found = normal_kl(doubles(0), doubles(difference), doubles(0), doubles(0))
    assert float(found) == pytest.approx(difference**2 / 4 + difference**3 / 12 + difference**4 / 48, rel=1e-5, abs=0)


def test_the_exact_cdf_is_scipys():
    x = np.linspace(-8, 8, 400)
    np.testing.assert_allclose(normal_cdf(torch.from_numpy(x)).numpy(), stats.norm.cdf(x), rtol=1e-12)


def test_the_tanh_cdf_is_hos_formula_and_within_2e_4():
    x = np.linspace(-8, 8, 4001)
    found = normal_cdf(torch.from_numpy(x), NormalCdf.TANH).numpy()
    expected = [(1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2 for v in x]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert 1e-4 < np.abs(found - stats.norm.cdf(x)).max() < 2e-4


@pytest.mark.parametrize("cdf", NormalCdf)
@pytest.mark.parametrize("std", [1e-3, 0.0073846, 0.1, 1, 10])
@pytest.mark.parametrize("mean", [-1.5, -1, -0.003, 0.4, 1])
def test_the_256_probabilities_add_up_to_one(mean, std, cdf):
    total = log_likelihood(GRID, mean, std, cdf).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.05), (-0.9, 0.3), (3, 1.5)])
def test_a_probability_is_the_gaussians_mass_in_the_bin(mean, std):
    edges = np.concatenate(([-np.inf], (np.arange(255) + 0.5) / 127.5 - 1, [np.inf]))
    expected = np.diff(stats.norm(mean, std).cdf(edges))
    found = log_likelihood(GRID, mean, std).exp().numpy()
    np.testing.assert_allclose(found[expected > 1e-9], expected[expected > 1e-9], rtol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("cdf", NormalCdf)
def test_float32_keeps_its_digits_on_either_tail(sign, cdf):
    """At 5 standard deviations 1 - Phi is 3e-7, of which float32 differences of numbers near 1 keep one digit."""
    x = sign * GRID[200:203]
    mean, std = float(x[1]) - sign * 0.25, 0.05
    wide, narrow = (log_likelihood(x.to(dtype), mean, std, cdf) for dtype in (torch.float64, torch.float32))
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=0)


@pytest.mark.parametrize("cdf", NormalCdf)
def test_mirrored_images_and_means_have_the_same_likelihood(cdf):
    mean, log_std = 0.3 * GRID.roll(9), torch.full_like(GRID, -2)
    torch.testing.assert_close(
        discretized_gaussian_log_likelihood(GRID, mean, log_std, cdf=cdf),
        discretized_gaussian_log_likelihood(-GRID, -mean, log_std, cdf=cdf),
    )


@pytest.mark.parametrize(("value", "mean"), [(-1.0, -50.0), (1.0, 50.0)])
def test_the_outer_bins_are_open(value, mean):
    assert float(log_likelihood(doubles(value), mean, 0.01)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_probability_never_falls_below_hos_floor(value):
    far_away = 5.0 if value < 200 else -5.0
    assert float(log_likelihood(GRID[value : value + 1], far_away, 0.01)) == pytest.approx(math.log(1e-12))


def test_one_log_std_serves_a_whole_image():
    x = GRID[:12].reshape(1, 3, 2, 2)
    one, many = doubles(-3).reshape(1, 1, 1, 1), torch.full_like(x, -3)
    found = discretized_gaussian_log_likelihood(x, x + 0.01, one)
    assert torch.equal(found, discretized_gaussian_log_likelihood(x, x + 0.01, many))
