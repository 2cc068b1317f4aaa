import math

import pytest
import torch

from ddpm_core.diffusion import q_posterior, q_sample
from tests.oracles.predictions import SCHEDULE, T, column, images


def test_q_sample_is_the_chain_of_single_steps():
    """Mean factor and variance by x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z, eq. (2), step after step."""
    factor, variance, expected = 1.0, 0.0, []
    for beta in SCHEDULE.betas.tolist():
        factor, variance = math.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
        expected.append((factor, math.sqrt(variance)))
    factors, stds = (
        column(torch.tensor(expected, dtype=torch.float64)[T, 0]),
        column(torch.tensor(expected, dtype=torch.float64)[T, 1]),
    )
    x_start, noise = images(0), images(1)
    torch.testing.assert_close(
        q_sample(SCHEDULE, x_start, T, noise), factors * x_start + stds * noise, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("t", [0, 99, 999])
def test_q_sample_has_the_moments_of_eq_4(t):
    count = 40_000
    noise = torch.randn(count, 1, 1, 1, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    drawn = q_sample(SCHEDULE, torch.full_like(noise, 0.7), torch.full((count,), t), noise)
    mean, variance = 0.7 * SCHEDULE.alphas_cumprod[t].sqrt(), 1 - SCHEDULE.alphas_cumprod[t]
    assert abs(float(drawn.mean() - mean)) < 4 * math.sqrt(variance / count)
    assert abs(float(drawn.var() - variance)) < 4 * variance * math.sqrt(2 / count)


def test_q_posterior_is_the_product_of_two_gaussians():
    """q(x_{t-1} | x_t, x_0) ~ q(x_t | x_{t-1}) q(x_{t-1} | x_0): precisions add, means weigh by precision."""
    later, x_start, x_t = T[1:], images(0)[1:], images(1)[1:]
    beta, before = column(SCHEDULE.betas[later]), column(SCHEDULE.alphas_cumprod[later - 1])
    precision = (1 - beta) / beta + 1 / (1 - before)
    mean = ((1 - beta).sqrt() * x_t / beta + before.sqrt() * x_start / (1 - before)) / precision
    found = q_posterior(SCHEDULE, x_start, x_t, later)
    torch.testing.assert_close(found.mean, mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.variance, 1 / precision, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.log_variance, -precision.log(), rtol=1e-9, atol=0)


def test_q_posterior_at_t_0_is_x_0_itself():
    x_start, x_t, zero = images(0), images(1), torch.zeros_like(T)
    found = q_posterior(SCHEDULE, x_start, x_t, zero)
    torch.testing.assert_close(found.mean, x_start, rtol=1e-11, atol=1e-11)
    assert bool((found.variance == 0).all())
    assert found.log_variance.exp().flatten().tolist() == pytest.approx([5.4531876613e-05] * len(T))  # recipe.md 1.6
