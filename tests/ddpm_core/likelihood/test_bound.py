import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from ddpm_core.choices import FIXED_VARIANCES, Parameterisation, Variance
from ddpm_core.gaussian import NormalCdf
from ddpm_core.likelihood.bound import (
    bits_per_dim,
    bits_per_dim_by_variance,
    prior_bits_per_dim,
    rate_distortion,
    to_bits_per_dim,
)
from ddpm_core.prediction import convert
from ddpm_core.schedule import linear_schedule, respace
from tests.oracles.denoisers import fixed_large_floor, gaussian, optimal_eps_mse, point_mass

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 20)
GREY, BLACK, WHITE = 100 / 127.5 - 1, -1.0, 1.0
# The decoder's standard deviation: of the posterior at t = 1 (recipe.md 1.6); a bin reaches 1/255 to either side.
HALF_BIN_IN_STDS = 1 / 255 / math.sqrt(5.4531876613e-05)


def image_of(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value, dtype=torch.float64)


def noise_like(x: torch.Tensor):
    generator = torch.Generator().manual_seed(0)
    return lambda _: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def of_perfect_denoiser(value: float, variance: Variance, schedule=LINEAR, **more):
    x = image_of(value)
    model = point_mass(LINEAR.alphas_cumprod, x)
    return bits_per_dim(model, schedule, x, noise=noise_like(x), variance=variance, **more)


def test_a_perfect_denoiser_pays_nothing_under_fixed_small_and_the_known_floor_under_fixed_large():
    x = image_of(GREY)
    small, large = bits_per_dim_by_variance(
        point_mass(LINEAR.alphas_cumprod, x),
        LINEAR,
        x,
        noise=noise_like(x),
        variances=[Variance.FIXED_SMALL, Variance.FIXED_LARGE],
        cdf=NormalCdf.TANH,
    )
    assert float(small.eps_mse.max()) < 1e-20
    assert float(small.step_bpd.abs().max()) < 1e-12
    torch.testing.assert_close(large.step_bpd[0], fixed_large_floor(LINEAR.betas) / math.log(2), rtol=1e-6, atol=1e-12)
    # recipe.md section 5: the sum, and the total that Ho's loop returned
    assert float(large.step_bpd.sum()) == pytest.approx(0.486419230044, abs=1e-10)
    assert float(large.total_bpd) == pytest.approx(1.79209, abs=1e-5)


# Its two steps are the first of the whole chain, so its decoder is too.
SHORT_OF_2 = linear_schedule(2, 1e-4, float(LINEAR.betas[1]))


@pytest.mark.parametrize("value", [1, 100, 254])
@pytest.mark.parametrize(
    ("cdf", "mass", "expected"),
    [  # recipe.md section 5; its last two digits of the tanh form, 49, are not those of the formula, 515 in float64
        (NormalCdf.EXACT, 2 * stats.norm.cdf(HALF_BIN_IN_STDS) - 1, 1.30537766),
        (
            NormalCdf.TANH,
            math.tanh(math.sqrt(2 / math.pi) * (HALF_BIN_IN_STDS + 0.044715 * HALF_BIN_IN_STDS**3)),
            1.30566515,
        ),
    ],
)
def test_a_perfect_denoiser_pays_the_bin_at_the_decoder_of_a_grey(value, cdf, mass, expected):
    found = of_perfect_denoiser(value / 127.5 - 1, Variance.FIXED_SMALL, SHORT_OF_2, cdf=cdf)
    assert float(found.decoder_bpd) == pytest.approx(-math.log2(mass), abs=1e-9)
    assert float(found.decoder_bpd) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("value", [BLACK, WHITE])
def test_the_open_edge_costs_half_a_bin_with_clipping_and_nothing_without(value):
    """A denoiser sure of three times the value is held at the edge by clipping, or pays 0 beyond it."""
    x = image_of(value)
    model = point_mass(LINEAR.alphas_cumprod, 3 * x)
    clipped, free = (
        bits_per_dim(model, SHORT_OF_2, x, noise=noise_like(x), clip_x_start=clip) for clip in (True, False)
    )
    assert float(clipped.decoder_bpd) == pytest.approx(-math.log2(stats.norm.cdf(HALF_BIN_IN_STDS)), abs=1e-8)
    assert float(clipped.decoder_bpd) == pytest.approx(0.5098, abs=5e-5)  # recipe.md 1.6
    assert float(free.decoder_bpd) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
@pytest.mark.parametrize(("mean", "data_variance"), [(0.0, 1.0), (0.1, 0.25)])
@pytest.mark.parametrize("schedule", [linear_schedule(100, 1e-3, 0.1), SHORT], ids=["100 steps", "respaced"])
def test_gaussian_data_pay_the_closed_form_expectation(schedule, mean, data_variance, variance):
    """E KL_t = (r - 1 - log r) / 2 + c^2 Var(x_0 | x_t) / (2 sigma^2), r = posterior variance / sigma^2.

    A KL is quadratic in (x_0, eps), so four pixels, one standard deviation to either side, have its mean exactly.
    """
    std = math.sqrt(data_variance)
    x = torch.tensor([mean - std, mean - std, mean + std, mean + std], dtype=torch.float64).reshape(1, 1, 2, 2)
    eps = torch.tensor([-1, 1, -1, 1], dtype=torch.float64).reshape(1, 1, 2, 2)
    original = LINEAR if schedule is SHORT else schedule
    model = gaussian(original.alphas_cumprod, mean, data_variance)
    found = bits_per_dim(model, schedule, x, noise=lambda _: eps, variance=variance, clip_x_start=False)

    betas = schedule.betas.numpy()
    cumprod = np.cumprod(1 - betas)
    before = np.r_[1, cumprod[:-1]]
    posterior = betas * (1 - before) / (1 - cumprod)
    chosen = betas if variance is Variance.FIXED_LARGE else posterior
    conditional = data_variance * (1 - cumprod) / (cumprod * data_variance + 1 - cumprod)
    coefficient = betas * np.sqrt(before) / (1 - cumprod)
    ratio = posterior[1:] / chosen[1:]
    expected = (ratio - 1 - np.log(ratio)) / 2 + (coefficient**2 * conditional)[1:] / (2 * chosen[1:])
    np.testing.assert_allclose(found.step_bpd[0].numpy(), expected / math.log(2), rtol=1e-6)

    mse = optimal_eps_mse(schedule.alphas_cumprod, data_variance)
    torch.testing.assert_close(found.eps_mse[0], mse, rtol=1e-6, atol=1e-10)


def test_the_best_eps_mse_has_the_recipes_numbers():
    mse = optimal_eps_mse(LINEAR.alphas_cumprod, 0.25)  # recipe.md section 5, variance 1/4
    assert mse[[0, 99, 499, 999]].tolist() == pytest.approx([0.99960012, 0.685298282, 0.02087733, 1.009e-05], rel=1e-4)
    assert float(mse.mean()) == pytest.approx(0.173053406, rel=1e-8)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 5.874784e-10), (1.0, 2.911294542e-05), (-1.0, 2.911294542e-05)])
def test_the_prior_has_the_recipes_numbers(value, expected):
    """recipe.md 1.6, float64; from float32 images too."""
    for dtype in (torch.float64, torch.float32):
        found = prior_bits_per_dim(LINEAR, image_of(value).to(dtype))
        assert found.dtype == torch.float64
        assert float(found) == pytest.approx(expected, rel=1e-6, abs=0)


def test_the_prior_of_a_short_chain_is_torchs_kl():
    schedule, x = linear_schedule(5, 0.1, 0.5), torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(2, 1, 2, 2)
    cumprod = schedule.alphas_cumprod[-1]
    expected = kl_divergence(Normal(cumprod.sqrt() * x, (1 - cumprod).sqrt()), Normal(0.0, 1.0)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(prior_bits_per_dim(schedule, x), expected / math.log(2))


def test_bits_per_dim_is_the_mean_over_an_image_in_bits():
    nats = torch.arange(24, dtype=torch.float64).reshape(2, 3, 2, 2)
    assert to_bits_per_dim(nats).tolist() == pytest.approx([5.5 / math.log(2), 17.5 / math.log(2)])


def test_the_total_is_the_sum_of_its_terms_for_each_image():
    x = torch.tensor([[[[0, 100], [255, 30]]], [[[7, 8], [9, 10]]]]) / 127.5 - 1
    found = bits_per_dim(gaussian(LINEAR.alphas_cumprod, 0, 0.5), SHORT, x, noise=noise_like(x))
    total = found.prior_bpd + found.step_bpd.sum(1) + found.decoder_bpd
    torch.testing.assert_close(found.total_bpd, total)
    assert found.step_bpd.shape == (2, 19)
    assert found.eps_mse.shape == (2, 20)
    assert {tensor.dtype for tensor in found} == {torch.float64}


def test_both_variances_come_from_the_same_network_calls():
    x = image_of(GREY)
    told: list[int] = []
    asked: list[int] = []
    draws = torch.randn(20, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    denoise = gaussian(LINEAR.alphas_cumprod, 0.1, 0.25)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        told.extend(t.tolist())
        return denoise(x_t, t)

    def noise(t: int) -> torch.Tensor:
        asked.append(t)
        return draws[t]

    both = bits_per_dim_by_variance(model, SHORT, x, noise=noise, variances=FIXED_VARIANCES)
    assert told == SHORT.timesteps.tolist()
    assert asked == list(range(20))
    for variance, found in zip(FIXED_VARIANCES, both, strict=True):
        alone = bits_per_dim(denoise, SHORT, x, noise=lambda t: draws[t], variance=variance)
        for one, other in zip(found, alone, strict=True):
            assert torch.equal(one, other)
    assert float(both[0].step_bpd.sum()) != float(both[1].step_bpd.sum())


def test_clipping_matters_where_the_prediction_leaves_the_range():
    x = image_of(WHITE)
    model = point_mass(LINEAR.alphas_cumprod, 2 * x)
    clipped, free = (bits_per_dim(model, SHORT, x, noise=noise_like(x), clip_x_start=clip) for clip in (True, False))
    perfect = of_perfect_denoiser(WHITE, Variance.FIXED_LARGE, SHORT)
    torch.testing.assert_close(clipped.step_bpd, perfect.step_bpd, rtol=1e-9, atol=1e-12)
    assert float(free.step_bpd.sum()) > float(clipped.step_bpd.sum()) + 1


def test_float32_images_and_networks_are_bounded_like_float64_ones():
    """Betas that fall from 0.5 to 0.001 make late posterior means nearly equal: in float32 a term is off by 1e-4."""
    schedule = linear_schedule(20, 0.5, 1e-3)
    x = (torch.arange(16).reshape(1, 1, 4, 4) * 17) / 127.5 - 1
    noise = noise_like(x.float())
    draws = [noise(t) for t in range(20)]
    model = gaussian(schedule.alphas_cumprod, 0, 0.3)
    narrow = bits_per_dim(model, schedule, x.float(), noise=lambda t: draws[t])
    wide = bits_per_dim(model, schedule, x.double(), noise=lambda t: draws[t].double())
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=0)


@pytest.mark.parametrize("parameterisation", Parameterisation)
def test_the_bound_is_the_same_in_every_parameterisation(parameterisation):
    schedule = linear_schedule(20, 1e-3, 0.3)
    x = image_of(GREY)
    draws = torch.randn(20, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    oracle = gaussian(schedule.alphas_cumprod, 0.1, 0.25)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return convert(schedule, x_t, t, oracle(x_t, t), source=Parameterisation.EPS, to=parameterisation)

    common = {"noise": lambda t: draws[t], "clip_x_start": False}
    expected = bits_per_dim(oracle, schedule, x, **common)
    for one, other in zip(
        bits_per_dim(model, schedule, x, parameterisation=parameterisation, **common), expected, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_learned_variance_is_bounded_beside_the_fixed_ones_by_the_same_calls():
    """An output whose variance half says -1 everywhere is fixed small, for t >= 1."""
    x = image_of(GREY)
    draws = torch.randn(20, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    oracle = gaussian(LINEAR.alphas_cumprod, 0.1, 0.25)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.cat((oracle(x_t, t), -torch.ones_like(x_t)), dim=1)

    learned, small = bits_per_dim_by_variance(
        model, SHORT, x, noise=lambda t: draws[t], variances=[Variance.LEARNED_RANGE, Variance.FIXED_SMALL]
    )
    torch.testing.assert_close(learned.step_bpd, small.step_bpd, rtol=1e-9, atol=1e-12)


def test_rate_and_distortion_of_a_point_mass_and_of_none():
    """A perfect network has no distortion; one that always says 0.5 is off by that all the way: 127.5 * |x - 0.5|."""
    x = image_of(GREY)
    perfect = rate_distortion(of_perfect_denoiser(GREY, Variance.FIXED_LARGE, SHORT))
    assert float(perfect.rmse.max()) < 1e-6
    half = torch.full_like(x, 0.5)
    bound = bits_per_dim(point_mass(LINEAR.alphas_cumprod, half), SHORT, x, noise=noise_like(x))
    curve = rate_distortion(bound)
    torch.testing.assert_close(curve.rmse, torch.full_like(curve.rmse, 127.5 * abs(float(x.flatten()[0]) - 0.5)))
    rate = float(bound.prior_bpd)
    for t in reversed(range(20)):
        assert float(curve.rate[t]) == pytest.approx(rate)
        rate += float(bound.step_bpd[0, t - 1]) if t else 0
    assert float(curve.rate[0] + bound.decoder_bpd.mean()) == pytest.approx(float(bound.total_bpd.mean()))
