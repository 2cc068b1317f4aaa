"""Every sampler has its entry, which is its function and uses the settings that the sampler says."""

from dataclasses import replace

import pytest
import torch

from ddpm_core.choices import Parameterisation, Sampler, Variance
from ddpm_core.prediction import convert
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.samplers.table import SAMPLERS
from ddpm_core.schedule import linear_schedule, respace
from tests.oracles.denoisers import gaussian

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 8)
DRAWS = torch.randn(9, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
X_T = DRAWS[8]
# Broad data, so that some predictions are clipped.
EPS_MODEL = gaussian(LINEAR.alphas_cumprod, 0.1, 4.0)


def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return convert(LINEAR, x_t, t, EPS_MODEL(x_t, t), source=Parameterisation.EPS, to=Parameterisation.V)


CHAIN = Chain(model=model, schedule=SHORT, noise=lambda t: DRAWS[t], parameterisation=Parameterisation.V)
CHANGES = {"clip_x_start": False, "variance": Variance.FIXED_SMALL, "eta": 0.5}


def test_every_sampler_has_its_entry():
    assert set(SAMPLERS) == set(Sampler)


def test_an_entry_is_its_function():
    chain = replace(CHAIN, **CHANGES)
    common = {"parameterisation": Parameterisation.V}
    more = common | {"noise": chain.noise, "clip_x_start": False}
    expected = {
        Sampler.DDPM: ddpm_sample(model, SHORT, X_T, variance=Variance.FIXED_SMALL, **more),
        Sampler.DDIM: ddim_sample(model, SHORT, X_T, eta=0.5, **more),
        Sampler.ODE: ode_sample(model, SHORT, X_T, **common),
    }
    for sampler, samples in expected.items():
        assert torch.equal(SAMPLERS[sampler](chain, X_T), samples), sampler


@pytest.mark.parametrize("sampler", Sampler)
def test_a_sampler_uses_the_settings_that_it_says(sampler):
    base = SAMPLERS[sampler](CHAIN, X_T)
    found = {name: SAMPLERS[sampler](replace(CHAIN, **{name: value}), X_T) for name, value in CHANGES.items()}
    assert {name for name, x_start in found.items() if not torch.equal(x_start, base)} == set(sampler.uses)


@pytest.mark.parametrize("sampler", Sampler)
def test_every_step_shows_its_prediction_of_x_0(sampler):
    seen: list[tuple[int, torch.Tensor]] = []
    out = SAMPLERS[sampler](replace(CHAIN, on_step=lambda t, x_start: seen.append((t, x_start))), X_T)
    assert [t for t, _ in seen] == [7, 6, 5, 4, 3, 2, 1, 0]
    torch.testing.assert_close(seen[-1][1], out)
