"""The flow's likelihood of Gaussian data is a formula; the solver tends to it to second order."""

import math
from itertools import pairwise

import pytest
import torch

from ddpm_core.choices import Parameterisation, ScheduleKind
from ddpm_core.likelihood.flow import dequantised, flow_bits_per_dim, flow_nodes
from ddpm_core.named import named_schedule
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


@pytest.mark.parametrize("kind", [ScheduleKind.LINEAR, ScheduleKind.COSINE, ScheduleKind.SIGMOID])
@pytest.mark.parametrize("variance", [1e-8, 1e-3, 0.25])
def test_a_few_nodes_of_a_long_chain_suffice(kind: ScheduleKind, variance: float):
    """Also for pixels that hardly vary, and across the last step of the cosine schedule, where sigma grows 33 times."""
    schedule = named_schedule(kind, 1000, 1e-4, 0.02)
    short = flow_nodes(schedule, 100)
    assert len(short.timesteps) <= 100
    assert short.timesteps[[0, -1]].tolist() == [0, 999]
    images = MEAN + math.sqrt(variance) * 2 * IMAGES
    spread = math.sqrt(variance + float(1 / schedule.alphas_cumprod[0] - 1))
    truth = -torch.distributions.Normal(MEAN, spread).log_prob(images).mean(dim=(1, 2, 3)) / math.log(2)
    found = flow_bits_per_dim(gaussian(schedule.alphas_cumprod, MEAN, variance), short, images)
    torch.testing.assert_close(found, math.log2(127.5) + truth, rtol=0, atol=0.015)


def test_all_nodes_are_the_chain_itself():
    schedule = linear_schedule(20, 1e-3, 0.3)
    assert flow_nodes(schedule, 20) is schedule
    assert flow_nodes(schedule, 21) is schedule
    assert flow_nodes(schedule, 2).timesteps.tolist() == [0, 19]
    with pytest.raises(ValueError, match="at least 2 nodes; got 1"):
        flow_nodes(schedule, 1)


def test_the_calls_are_two_per_step_and_each_is_of_an_original_timestep():
    schedule = linear_schedule(50, 1e-3, 0.3)
    short, asked = flow_nodes(schedule, 6), []
    oracle = gaussian(schedule.alphas_cumprod, MEAN, VARIANCE)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(int(t[0]))
        return oracle(x_t, t)

    flow_bits_per_dim(model, short, IMAGES)
    kept = short.timesteps.tolist()
    assert asked == [t for pair in pairwise(kept) for t in pair]


def test_dequantised_levels_fill_their_bins():
    uniforms = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    levels = (dequantised(torch.full((3, 1, 1, 1), 100 / 127.5 - 1, dtype=torch.float64), uniforms) + 1) * 127.5
    assert levels.flatten().tolist() == pytest.approx([99.5, 99.75, 100.5])


def test_the_mean_over_a_bin_is_at_least_the_levels_own_bits():
    """Jensen, against the exact probability of a level under the Gaussian."""
    schedule = nodes(200)
    level = torch.full((1001, 1, 1, 1), 200 / 127.5 - 1, dtype=torch.float64)
    spread = (torch.arange(1001, dtype=torch.float64) / 1000).reshape(-1, 1, 1, 1)
    narrow = 1e-5  # a deviation of less than a level, so that the two differ
    model = gaussian(schedule.alphas_cumprod, float(level[0]), narrow)
    mean = float(flow_bits_per_dim(model, schedule, dequantised(level, spread)).mean())
    deviation = math.sqrt(narrow + 0.01**2)
    exact_bits = -math.log2(math.erf(0.5 / 127.5 / deviation / math.sqrt(2)))
    assert exact_bits < mean < exact_bits + 0.05


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
    with pytest.raises(ValueError, match="infinite sigma"):
        flow_nodes(schedule, 5)
