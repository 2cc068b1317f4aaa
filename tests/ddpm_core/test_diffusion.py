import math

import pytest
import torch

from ddpm_core.diffusion import (
    FIXED_VARIANCES,
    Parameterisation,
    Variance,
    convert,
    p_mean_variance,
    predict_eps,
    predict_x_start,
    q_posterior,
    q_sample,
    reverse_log_variance,
    score,
    target,
)
from ddpm_core.schedule import linear_schedule, with_zero_terminal_snr

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
    small, large = (reverse_log_variance(SCHEDULE, variance) for variance in FIXED_VARIANCES)
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


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
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


PAIRS = [(source, to) for source in Parameterisation for to in Parameterisation]


def truth(parameterisation: Parameterisation, x_start: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """What is to be predicted, from its definition and plain floats."""
    cumprod, prev = column(SCHEDULE.alphas_cumprod[T]), column(SCHEDULE.alphas_cumprod_prev[T])
    alpha = cumprod / prev
    x_t = cumprod.sqrt() * x_start + (1 - cumprod).sqrt() * noise
    posterior = (prev.sqrt() * (1 - alpha) * x_start + alpha.sqrt() * (1 - prev) * x_t) / (1 - cumprod)
    return {
        Parameterisation.EPS: noise,
        Parameterisation.X_START: x_start,
        Parameterisation.V: cumprod.sqrt() * noise - (1 - cumprod).sqrt() * x_start,
        Parameterisation.X_PREV: posterior,
    }[parameterisation]


@pytest.mark.parametrize("parameterisation", Parameterisation)
def test_targets_are_their_definitions(parameterisation):
    x_start, noise = images(0), images(1)
    found = target(SCHEDULE, x_start, noise, T, parameterisation)
    torch.testing.assert_close(found, truth(parameterisation, x_start, noise), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_a_prediction_says_the_same_in_every_parameterisation(source, to):
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise)
    found = convert(SCHEDULE, x_t, T, truth(source, x_start, noise), source=source, to=to)
    torch.testing.assert_close(found, truth(to, x_start, noise), rtol=1e-6, atol=1e-7)


def test_v_is_the_velocity_along_the_angle():
    """x(phi) = cos(phi) x_0 + sin(phi) eps, cos^2 = alpha-bar: v = dx / dphi, here by a central difference."""
    x_start, noise, step = images(0), images(1), 1e-6
    phi = torch.arccos(column(SCHEDULE.alphas_cumprod[T].sqrt()))

    def x(angle: torch.Tensor) -> torch.Tensor:
        return torch.cos(angle) * x_start + torch.sin(angle) * noise

    slope = (x(phi + step) - x(phi - step)) / (2 * step)
    found = target(SCHEDULE, x_start, noise, T, Parameterisation.V)
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("parameterisation", Parameterisation)
def test_a_perfect_prediction_gives_the_posteriors_mean(parameterisation):
    x_start, noise = images(0).clamp(-1, 1), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise)
    output = truth(parameterisation, x_start, noise)
    reverse = p_mean_variance(SCHEDULE, output, x_t, T, parameterisation=parameterisation)
    torch.testing.assert_close(reverse.mean, q_posterior(SCHEDULE, x_start, x_t, T).mean, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(reverse.pred_x_start, x_start, rtol=1e-6, atol=1e-7)


def test_eps_is_refused_where_the_chain_ends_in_noise_alone():
    schedule = with_zero_terminal_snr(SCHEDULE)
    with pytest.raises(ValueError, match="predict v or x_start instead"):
        p_mean_variance(schedule, images(0), images(1), T)
    for parameterisation in (Parameterisation.V, Parameterisation.X_START):
        step = p_mean_variance(schedule, images(0), images(1), T, parameterisation=parameterisation)
        assert bool(torch.isfinite(step.mean).all())


def test_v_starts_a_chain_that_eps_cannot():
    """At alpha-bar_T = 0, v = -x_0, so x_0 is known; at every t both lead back to it."""
    schedule = with_zero_terminal_snr(SCHEDULE)
    x_start, noise = images(0), images(1)
    x_t = q_sample(schedule, x_start, T, noise)
    v = target(schedule, x_start, noise, T, Parameterisation.V)
    torch.testing.assert_close(v[-1], -x_start[-1])
    torch.testing.assert_close(predict_x_start(schedule, x_t, T, v, Parameterisation.V), x_start)


def test_a_learned_log_variance_is_taken_as_it_is():
    x_t, output = images(0), torch.cat((images(1), images(2)), dim=1)
    found = p_mean_variance(SCHEDULE, output, x_t, T, variance=Variance.LEARNED)
    assert torch.equal(found.log_variance, images(2))
    torch.testing.assert_close(found.variance, images(2).exp())
    torch.testing.assert_close(found.mean, p_mean_variance(SCHEDULE, images(1), x_t, T).mean)


@pytest.mark.parametrize(("v", "variance"), [(-1.0, Variance.FIXED_SMALL), (1.0, Variance.FIXED_LARGE)])
def test_a_learned_range_ends_at_the_fixed_variances(v, variance):
    x_t = images(0)[1:]
    output = torch.cat((images(1)[1:], torch.full_like(x_t, v)), dim=1)
    found = p_mean_variance(SCHEDULE, output, x_t, T[1:], variance=Variance.LEARNED_RANGE)
    expected = column(reverse_log_variance(SCHEDULE, variance)[T[1:]]).expand_as(x_t)
    torch.testing.assert_close(found.log_variance, expected)


def test_a_learned_range_is_a_geometric_mean_in_between():
    x_t = images(0)[1:]
    output = torch.cat((images(1)[1:], torch.zeros_like(x_t)), dim=1)
    found = p_mean_variance(SCHEDULE, output, x_t, T[1:], variance=Variance.LEARNED_RANGE)
    product = SCHEDULE.betas[T[1:]] * SCHEDULE.posterior_variance[T[1:]]
    torch.testing.assert_close(found.variance**2, column(product).expand_as(x_t))


@pytest.mark.parametrize(("variance", "channels", "wanted"), [(Variance.FIXED_LARGE, 4, 2), (Variance.LEARNED, 2, 4)])
def test_an_output_of_other_channels_is_refused(variance, channels, wanted):
    output = torch.zeros(len(T), channels, 3, 3)
    with pytest.raises(ValueError, match=f"asks for {wanted} output channels of 2 image channels; got {channels}"):
        p_mean_variance(SCHEDULE, output, images(0).float(), T, variance=variance)


@pytest.mark.parametrize("variance", [Variance.LEARNED, Variance.LEARNED_RANGE])
def test_a_learned_variance_has_no_table(variance):
    with pytest.raises(ValueError, match="only fixed variances have a table"):
        reverse_log_variance(SCHEDULE, variance)
