import math

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Parameterisation, Variance
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.reverse import p_mean_variance, reverse_log_variance
from ddpm_core.schedule import with_zero_terminal_snr
from tests.oracles.predictions import SCHEDULE, T, column, images, truth


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
    with pytest.raises(ValueError, match=f"needs {wanted} output channels for 2 image channels; got {channels}"):
        p_mean_variance(SCHEDULE, output, images(0).float(), T, variance=variance)


@pytest.mark.parametrize("variance", [Variance.LEARNED, Variance.LEARNED_RANGE])
def test_a_learned_variance_has_no_table(variance):
    with pytest.raises(ValueError, match="only fixed variances have a table"):
        reverse_log_variance(SCHEDULE, variance)
