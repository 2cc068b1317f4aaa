"""The flow's likelihood of Gaussian data is a formula; the solver tends to it to second order."""

import math

import pytest
import torch

from ddpm_core.choices import Parameterisation
from ddpm_core.likelihood.flow import flow_bits_per_dim
from ddpm_core.prediction import convert
from ddpm_core.schedule import NoiseSchedule, alphas_cumprod_schedule, linear_schedule, with_zero_terminal_snr
from tests.oracles.denoisers import gaussian, gaussian_mixture

MEAN, VARIANCE = 0.1, 0.25
IMAGES = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 1, 2, 2)


def nodes(count: int, lowest: float = 0.01, highest: float = 1000.0) -> NoiseSchedule:
    """Sigma from `lowest` to `highest`, equally spaced in its logarithm."""
    sigma = torch.logspace(math.log10(lowest), math.log10(highest), count, dtype=torch.float64)
    return alphas_cumprod_schedule(1 / (1 + sigma**2))


def exact(schedule: NoiseSchedule) -> torch.Tensor:
    """-log2 N(x; m, s^2 + sigma_0^2) in bits/dim of grey levels."""
    variance = VARIANCE + float(1 / schedule.alphas_cumprod[0] - 1)
    normal = torch.distributions.Normal(MEAN, math.sqrt(variance))
    return math.log2(127.5) - normal.log_prob(IMAGES).mean(dim=(1, 2, 3)) / math.log(2)


def found(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    return flow_bits_per_dim(gaussian(schedule.alphas_cumprod, MEAN, VARIANCE), schedule, IMAGES, **more)


def test_gaussian_data_have_their_density_to_second_order():
    gaps = [float((found(nodes(count)) - exact(nodes(count))).abs().max()) for count in (60, 120, 240)]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(4, rel=0.2)
    assert gaps[2] < 0.01


def test_a_mixture_has_its_density():
    schedule = nodes(600)
    model = gaussian_mixture(schedule.alphas_cumprod, (-0.5, 0.7), 0.05)
    spread = math.sqrt(0.05 + 0.01**2)
    density = sum(torch.distributions.Normal(m, spread).log_prob(IMAGES).exp() / 2 for m in (-0.5, 0.7))
    expected = math.log2(127.5) - density.log2().mean(dim=(1, 2, 3))
    torch.testing.assert_close(flow_bits_per_dim(model, schedule, IMAGES), expected, rtol=0, atol=3e-3)


def test_hutchinson_is_exact_where_pixels_do_not_mix():
    """The Jacobian is diagonal there, and a probe of signs squares to the trace."""
    schedule = nodes(20)
    generator = torch.Generator().manual_seed(0)

    def probe(_: int) -> torch.Tensor:
        return torch.randint(0, 2, IMAGES.shape, generator=generator).double() * 2 - 1

    torch.testing.assert_close(found(schedule, probe=probe), found(schedule))


def test_hutchinson_is_unbiased_where_they_do():
    schedule = nodes(12)
    mix = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        mixed = (x_t.flatten(1) @ mix).reshape(x_t.shape)
        return gaussian(schedule.alphas_cumprod, MEAN, VARIANCE)(x_t, t) + 0.05 * torch.tanh(mixed)

    image = IMAGES[:1]
    many = image.expand(4000, -1, -1, -1)
    generator = torch.Generator().manual_seed(1)
    estimates = flow_bits_per_dim(
        model, schedule, many, probe=lambda _: torch.randn(many.shape, generator=generator, dtype=many.dtype)
    )
    truth = float(flow_bits_per_dim(model, schedule, image))
    error = float(estimates.std()) / math.sqrt(4000)
    assert abs(float(estimates.mean()) - truth) < 4 * error
    assert 0 < error < 0.05


def test_every_parameterisation_is_the_same_flow():
    schedule = nodes(10)
    oracle = gaussian(schedule.alphas_cumprod, MEAN, VARIANCE)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return convert(schedule, x_t, t, oracle(x_t, t), source=Parameterisation.EPS, to=Parameterisation.V)

    v = flow_bits_per_dim(model, schedule, IMAGES, parameterisation=Parameterisation.V)
    torch.testing.assert_close(v, found(schedule), rtol=1e-7, atol=1e-9)


def test_no_gradient_is_kept():
    assert not found(nodes(5)).requires_grad


def test_the_flow_has_no_end_at_infinity():
    schedule = with_zero_terminal_snr(linear_schedule(10, 0.01, 0.5))
    with pytest.raises(ValueError, match="infinite sigma"):
        flow_bits_per_dim(lambda x, t: x, schedule, IMAGES, parameterisation=Parameterisation.V)
