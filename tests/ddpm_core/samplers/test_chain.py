"""Properties of every sampler."""

import math
from functools import partial

import pytest
import torch

from ddpm_core.choices import Parameterisation
from ddpm_core.prediction import convert
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_invert, ddim_sample
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.schedule import linear_schedule, respace
from tests.ddpm_core.samplers.noise import zeros
from tests.oracles.denoisers import gaussian, gaussian_mixture
from tests.oracles.flow import DATA_MEAN, DATA_VARIANCE, PIXEL

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 50)


@pytest.mark.parametrize(
    "draw_samples",
    [
        lambda model, x, noise: ddpm_sample(model, LINEAR, x, noise=noise, clip_x_start=False),
        lambda model, x, noise: ddim_sample(model, LINEAR, x, clip_x_start=False),
        lambda model, x, noise: ddim_sample(model, LINEAR, x, eta=0.5, noise=noise, clip_x_start=False),
        lambda model, x, noise: ode_sample(model, respace(LINEAR, 300), x),
    ],
    ids=["ddpm", "ddim", "ddim eta=0.5", "ode"],
)
def test_a_mixture_comes_out_with_its_mean_variance_and_shares(draw_samples):
    """Two even normals at -0.5 and 0.7 of variance 0.01: mean 0.1, variance 0.36 + 0.01, half of it left of 0.1."""
    count = 8000
    generator = torch.Generator().manual_seed(3)

    def noise(_: int) -> torch.Tensor:
        return torch.randn(count, 1, 1, 1, generator=generator, dtype=torch.float64)

    found = draw_samples(gaussian_mixture(LINEAR.alphas_cumprod, (-0.5, 0.7), 0.01), noise(0), noise).flatten()
    assert abs(float(found.mean()) - 0.1) < 4 * math.sqrt(0.37 / count)
    # The variance of a sample variance is (fourth central moment - variance^2) / n; 0.002 for the chain's own bias.
    fourth = 0.36**2 + 6 * 0.36 * 0.01 + 3 * 0.01**2
    assert abs(float(found.var()) - 0.37) < 4 * math.sqrt((fourth - 0.37**2) / count) + 0.002
    assert abs(float((found < 0.1).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(count)
    left = found[found < 0.1]
    assert abs(float(left.var()) - 0.01) < 0.001


def test_a_chain_may_start_in_the_middle():
    seen: list[int] = []
    for sample in (partial(ddpm_sample, noise=zeros), ddim_sample):
        seen.clear()
        sample(lambda x, t: torch.zeros_like(x), SHORT, zeros(0), start=7, on_step=lambda t, _: seen.append(t))
        assert seen == [7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("start", [-1, 50])
def test_a_chain_does_not_start_outside(start):
    with pytest.raises(ValueError, match=rf"start must lie in 0\.\.49; got {start}"):
        ddim_sample(lambda x, t: x, SHORT, zeros(0), start=start)


@pytest.mark.parametrize("parameterisation", Parameterisation)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "invert", "ode"])
def test_every_sampler_takes_every_parameterisation(sampler, parameterisation):
    schedule = linear_schedule(40, 1e-3, 0.3)
    oracle = gaussian(schedule.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        prediction = oracle(x_t, t)
        return convert(schedule, x_t, t, prediction, source=Parameterisation.EPS, to=parameterisation)

    def sample(network: object, given: Parameterisation) -> torch.Tensor:
        match sampler:
            case "ddpm":
                noise = partial(torch.full_like, PIXEL)
                return ddpm_sample(
                    network, schedule, PIXEL, noise=lambda t: noise(0.1), parameterisation=given, clip_x_start=False
                )
            case "ddim":
                return ddim_sample(network, schedule, PIXEL, parameterisation=given, clip_x_start=False)
            case "invert":
                return ddim_invert(network, schedule, PIXEL, parameterisation=given)
            case _:
                return ode_sample(network, schedule, PIXEL, parameterisation=given)

    expected = sample(oracle, Parameterisation.EPS)
    torch.testing.assert_close(sample(model, parameterisation), expected, rtol=1e-6, atol=1e-7)
