import math

import pytest
import torch

from ddpm_core.diffusion import (
    Variance,
    p_mean_variance,
    predict_eps,
    predict_x_start,
    q_posterior,
    q_sample,
    reverse_log_variance,
    score,
)
from ddpm_core.schedule import linear_schedule

SCHEDULE = linear_schedule()
T = torch.tensor([0, 1, 2, 250, 998, 999])


def images(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """One standard normal image for each of T."""
    return torch.randn(len(T), 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def column(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 1, 1, 1)


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


def test_x_0_and_eps_are_found_again_from_x_t():
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise)
    torch.testing.assert_close(predict_x_start(SCHEDULE, x_t, T, noise), x_start, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(predict_eps(SCHEDULE, x_t, T, x_start), noise, rtol=1e-9, atol=1e-10)


def test_score_is_the_gradient_of_log_q():
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise).requires_grad_()
    cumprod = column(SCHEDULE.alphas_cumprod[T])
    log_q = torch.distributions.Normal(cumprod.sqrt() * x_start, (1 - cumprod).sqrt()).log_prob(x_t).sum()
    (gradient,) = torch.autograd.grad(log_q, x_t)
    torch.testing.assert_close(score(SCHEDULE, T, noise), gradient, rtol=1e-9, atol=1e-10)


def test_fixed_small_is_the_posteriors_variance():
    found = reverse_log_variance(SCHEDULE, Variance.FIXED_SMALL).exp()
    torch.testing.assert_close(found[1:], SCHEDULE.posterior_variance[1:])
    assert float(found[0]) == pytest.approx(5.4531876613e-05)  # recipe.md 1.6


def test_fixed_large_is_beta_but_the_posteriors_of_t_1_at_t_0():
    found = reverse_log_variance(SCHEDULE, Variance.FIXED_LARGE).exp()
    torch.testing.assert_close(found[1:], SCHEDULE.betas[1:])
    assert float(found[0]) == pytest.approx(5.4531876613e-05)  # recipe.md 1.6; beta_0 would be 1e-4


def test_the_two_variances_bound_each_other():
    small, large = (reverse_log_variance(SCHEDULE, variance) for variance in Variance)
    assert bool((small[1:] < large[1:]).all())
    assert small[0] == large[0]


def test_the_mean_is_eq_11_where_nothing_is_clipped():
    x_t, pred_eps = images(0), images(1)
    beta, cumprod = column(SCHEDULE.betas[T]), column(SCHEDULE.alphas_cumprod[T])
    mean = (x_t - beta / (1 - cumprod).sqrt() * pred_eps) / (1 - beta).sqrt()
    found = p_mean_variance(SCHEDULE, pred_eps, x_t, T, clip_x_start=False)
    torch.testing.assert_close(found.mean, mean, rtol=1e-9, atol=1e-10)


def test_x_0_is_clipped_before_the_mean():
    """At t = 250 with x_t = 2 and eps = 0 the predicted x_0 is above 1: the mean is that of x_0 = 1."""
    t = torch.tensor([250])
    x_t = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    clipped, free = (
        p_mean_variance(SCHEDULE, torch.zeros_like(x_t), x_t, t, clip_x_start=clip) for clip in (True, False)
    )
    assert float(free.pred_x_start) == pytest.approx(2 / math.sqrt(SCHEDULE.alphas_cumprod[250]))
    assert float(clipped.pred_x_start) == 1
    torch.testing.assert_close(clipped.mean, q_posterior(SCHEDULE, torch.ones_like(x_t), x_t, t).mean)
    assert float((clipped.mean - free.mean).abs()) > 1e-3


def test_clipping_bounds_x_0_on_both_sides_and_leaves_the_inside():
    x_t = images(3)
    free = p_mean_variance(SCHEDULE, images(4), x_t, T, clip_x_start=False).pred_x_start
    clipped = p_mean_variance(SCHEDULE, images(4), x_t, T).pred_x_start
    assert float(free.min()) < -1
    assert float(free.max()) > 1
    assert torch.equal(clipped, free.clamp(-1, 1))


@pytest.mark.parametrize("variance", Variance)
def test_the_reverse_step_carries_its_fixed_variance(variance):
    found = p_mean_variance(SCHEDULE, images(0), images(1), T, variance=variance)
    assert torch.equal(found.log_variance.flatten(), reverse_log_variance(SCHEDULE, variance)[T])
    torch.testing.assert_close(found.variance, found.log_variance.exp())


def test_fixed_large_is_the_default():
    default, large = (
        p_mean_variance(SCHEDULE, images(0), images(1), T, **more) for more in ({}, {"variance": Variance.FIXED_LARGE})
    )
    assert torch.equal(default.variance, large.variance)


def test_float32_images_stay_float32_and_near_the_float64_ones():
    narrow = p_mean_variance(SCHEDULE, images(0).float(), images(1).float(), T)
    wide = p_mean_variance(SCHEDULE, images(0).float().double(), images(1).float().double(), T)
    assert {tensor.dtype for tensor in narrow} == {torch.float32}
    torch.testing.assert_close(narrow.mean.double(), wide.mean, rtol=1e-5, atol=1e-5)
