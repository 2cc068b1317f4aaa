"""The seed's background: statements that no other test shows, each by a second derivation (see docs/seed.md).

The seed counts t = 1..T, the code t = 0..T-1: names here that end in `_1_based` follow the seed.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.schedule import NoiseSchedule, respace
from tests.ddpm_core.seed.values import GREY, LINEAR, draws, of_normal, pixels, schedule_of
from tests.oracles.denoisers import gaussian


def test_squared_coefficients_add_up_to_one():
    """So data of variance 1 keep it at every t: here from the answers to a unit of x_0 and a unit of eps alone."""
    t, one = torch.arange(1000), torch.ones(1000, 1, 1, 1, dtype=torch.float64)
    from_x_start = q_sample(LINEAR, one, t, torch.zeros_like(one))
    from_noise = q_sample(LINEAR, torch.zeros_like(one), t, one)
    torch.testing.assert_close(from_x_start**2 + from_noise**2, one)


def test_two_steps_are_one_by_integration():
    """q(x_t | x_{t-2}) is the integral of q(x_t | x_{t-1}) q(x_{t-1} | x_{t-2}): variance 1 - alpha_{t-1} alpha_t."""
    schedule = schedule_of(0.1, 0.25, 0.4)
    (_, first, second), start = schedule.betas.tolist(), 0.7
    between, ends = np.linspace(-8, 8, 20_001), np.array([-1.0, 0.2, 1.5])
    before = stats.norm.pdf(between, math.sqrt(1 - first) * start, math.sqrt(first))
    after = stats.norm.pdf(ends[:, None], math.sqrt(1 - second) * between, math.sqrt(second))
    at_once = float(respace(schedule, 2).betas[1])
    assert at_once == pytest.approx(1 - (1 - first) * (1 - second))
    expected = stats.norm.pdf(ends, math.sqrt(1 - at_once) * start, math.sqrt(at_once))
    np.testing.assert_allclose(np.trapezoid(after * before, between), expected, rtol=1e-10)


def means_and_stds(schedule: NoiseSchedule, variance: Variance, mean: float, spread: float):
    """The reverse steps of the best denoiser of N(mean, spread) by the seed's equation: (t, x_t) -> mean, and stds."""
    betas = schedule.betas.numpy()
    cumprod = np.cumprod(1 - betas)
    small = betas[1:] * (1 - cumprod[:-1]) / (1 - cumprod[1:])
    squared = np.r_[small[0], betas[1:] if variance is Variance.FIXED_LARGE else small]

    def mean_of(t: int, x: np.ndarray) -> np.ndarray:
        eps = math.sqrt(1 - cumprod[t]) * (x - math.sqrt(cumprod[t]) * mean) / (cumprod[t] * spread + 1 - cumprod[t])
        return (x - betas[t] / math.sqrt(1 - cumprod[t]) * eps) / math.sqrt(1 - betas[t])

    return mean_of, np.sqrt(squared)


def log_bin(mean: np.ndarray, std: float) -> np.ndarray:
    """The log of a normal's mass in the bin of GREY, which no edge touches."""
    return np.log(stats.norm.cdf(GREY + 1 / 255, mean, std) - stats.norm.cdf(GREY - 1 / 255, mean, std))


def expected_bound_in_nats(schedule: NoiseSchedule, variance: Variance, mean: float, spread: float) -> float:
    """The bound at one grey pixel: each term depends on its own eps alone, so all may sit at the same node."""
    nodes, weights = of_normal(60)
    x, eps = pixels([GREY] * 60), pixels(nodes)
    model = gaussian(schedule.alphas_cumprod, mean, spread)
    found = bits_per_dim(model, schedule, x, noise=lambda _: eps, variance=variance, clip_x_start=False)
    return float((found.total_bpd * torch.from_numpy(weights)).sum()) * math.log(2)


@pytest.mark.parametrize(
    ("betas", "variance", "mean", "spread", "least", "most"),
    [
        ((0.01, 0.99), Variance.FIXED_LARGE, 0.0, 1.0, -1e-9, 1e-5),  # the reverse chain is the forward one's: tight
        ((0.01, 0.99), Variance.FIXED_SMALL, 0.0, 1.0, 0.1, 10),
        ((0.01, 0.99), Variance.FIXED_LARGE, 0.3, 0.2, 1e-4, 10),
    ],
)
def test_the_bound_lies_above_the_negative_log_likelihood(betas, variance, mean, spread, least, most):
    """Jensen's gap; p_theta(x_0) is integrated over x_1, whose distribution is normal as all maps are linear."""
    schedule = schedule_of(*betas)
    mean_of, stds = means_and_stds(schedule, variance, mean, spread)
    centre, slope = mean_of(1, np.array(0.0)), mean_of(1, np.array(1.0)) - mean_of(1, np.array(0.0))
    x_1 = np.linspace(-12, 12, 200_001)
    density = stats.norm.pdf(x_1, centre, math.hypot(slope, stds[1]))
    # Far out the bin's mass underflows to 0, which the integral may take as it is.
    with np.errstate(divide="ignore"):
        likelihood = np.trapezoid(density * np.exp(log_bin(mean_of(0, x_1), stds[0])), x_1)
    gap = expected_bound_in_nats(schedule, variance, mean, spread) + math.log(likelihood)
    assert least < gap < most


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_the_terms_are_the_paths_expectation(variance):
    """E_q[-log p(x_{0:T}) + log q(x_{1:T} | x_0)] over forward paths, step by step: neither KL nor posterior in it."""
    schedule, mean, spread = schedule_of(0.05, 0.3, 0.6), 0.1, 0.25
    betas = schedule.betas.numpy()
    mean_of, stds = means_and_stds(schedule, variance, mean, spread)
    nodes, weights = of_normal(24)
    eps = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"))
    path, log_ratio = [np.full_like(eps[0], GREY)], 0.0
    for t in range(3):
        path.append(math.sqrt(1 - betas[t]) * path[t] + math.sqrt(betas[t]) * eps[t])
        log_ratio = log_ratio + stats.norm.logpdf(path[t + 1], math.sqrt(1 - betas[t]) * path[t], math.sqrt(betas[t]))
        back = mean_of(t, path[t + 1])
        log_ratio = log_ratio - (stats.norm.logpdf(path[t], back, stds[t]) if t else log_bin(back, stds[0]))
    log_ratio = log_ratio - stats.norm.logpdf(path[3])
    expected = np.einsum("ijk,i,j,k->", log_ratio, weights, weights, weights)
    assert expected_bound_in_nats(schedule, variance, mean, spread) == pytest.approx(expected, rel=1e-7)


def log_of_the_numerator(x_prev, x_t, x_start, t):
    """log q(x_t | x_{t-1}) + log q(x_{t-1} | x_0), from the definitions of the forward process."""
    beta, before = pixels(LINEAR.betas[t]), pixels(LINEAR.alphas_cumprod[t - 1])
    step = Normal((1 - beta).sqrt() * x_prev, beta.sqrt().expand_as(x_prev)).log_prob(x_t)
    return step + Normal(before.sqrt() * x_start, (1 - before).sqrt().expand_as(x_prev)).log_prob(x_prev)


LATER = torch.tensor([1, 2, 50, 500, 999])


def test_bayes_gives_the_posterior_with_its_constant():
    x_start, x_t = draws(0, 5), draws(1, 5)
    posterior = q_posterior(LINEAR, x_start, x_t, LATER)
    x_prev = posterior.mean + 2 * posterior.variance.sqrt() * draws(2, 5)
    cumprod = pixels(LINEAR.alphas_cumprod[LATER])
    below = Normal(cumprod.sqrt() * x_start, (1 - cumprod).sqrt().expand_as(x_t)).log_prob(x_t)
    found = Normal(posterior.mean, posterior.variance.sqrt().expand_as(x_t)).log_prob(x_prev)
    torch.testing.assert_close(found, log_of_the_numerator(x_prev, x_t, x_start, LATER) - below, rtol=1e-7, atol=1e-7)


def test_the_square_is_completed():
    """A quadratic's vertex and curvature: the gradient in x_{t-1} is 0 at mu-tilde, its slope -1 / beta-tilde."""
    x_start, x_t = draws(0, 5), draws(1, 5)
    posterior = q_posterior(LINEAR, x_start, x_t, LATER)

    def gradient(x_prev: torch.Tensor) -> torch.Tensor:
        x_prev = x_prev.clone().requires_grad_()
        return torch.autograd.grad(log_of_the_numerator(x_prev, x_t, x_start, LATER).sum(), x_prev)[0]

    at_mean = gradient(posterior.mean) * posterior.variance.sqrt()
    torch.testing.assert_close(at_mean, torch.zeros_like(at_mean), rtol=0, atol=1e-8)
    one_away = gradient(posterior.mean + 1)
    torch.testing.assert_close(one_away, (-1 / posterior.variance).expand_as(one_away), rtol=1e-8, atol=0)
