"""DDIM and its inversion against the flow of Gaussian data."""

import math
from functools import partial

import pytest
import torch

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.prediction import target
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_invert, ddim_sample, ddim_steps
from ddpm_core.schedule import NoiseSchedule, linear_schedule, respace, with_zero_terminal_snr
from tests.ddpm_core.samplers.noise import zeros
from tests.oracles.denoisers import gaussian, point_mass
from tests.oracles.flow import DATA_MEAN, DATA_VARIANCE, PIXEL, errors, flow, refined

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 50)
MODEL = gaussian(LINEAR.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)


def test_ddim_follows_the_probability_flow_to_first_order():
    coarse, fine, finest = errors(partial(ddim_sample, clip_x_start=False), (100, 200, 400))
    assert coarse / fine == pytest.approx(2, rel=0.1)
    assert fine / finest == pytest.approx(2, rel=0.05)


def test_the_steps_are_the_chains_own_and_call_the_network_once_each():
    calls: list[int] = []

    def counted(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append(int(t[0]))
        return MODEL(x_t, t)

    x_T, after = torch.randn(2, 1, 1, 1, generator=torch.Generator().manual_seed(0)), []
    for x_t in ddim_steps(counted, SHORT, x_T):
        after.append((x_t, len(calls)))
    assert [count for _, count in after] == list(range(1, 51))
    assert torch.equal(after[-1][0], ddim_sample(MODEL, SHORT, x_T))
    assert torch.equal(ddim_sample(MODEL, SHORT, after[29][0], start=19), after[-1][0]), "x_t after 30 of 50 steps"


def test_inversion_leads_back_to_first_order():
    def there_and_back(model: object, schedule: NoiseSchedule, x: torch.Tensor) -> torch.Tensor:
        return ddim_sample(model, schedule, ddim_invert(model, schedule, x), clip_x_start=False)

    gaps = []
    for count in (100, 200, 400):
        schedule = refined(count)
        model = gaussian(schedule.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)
        gaps.append(float((there_and_back(model, schedule, PIXEL) - PIXEL).abs().max()))
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1)
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.05)


def test_inversion_runs_the_flow_backwards():
    schedule = refined(800)
    model = gaussian(schedule.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)
    torch.testing.assert_close(flow(schedule, ddim_invert(model, schedule, PIXEL)), PIXEL, rtol=0, atol=0.02)


@pytest.mark.parametrize("clip", [True, False])
def test_ddim_with_eta_1_is_the_ancestral_chain_with_fixed_small_variance(clip):
    draws = torch.randn(50, 5, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    common = {"noise": lambda t: draws[t], "clip_x_start": clip}
    ancestral = ddpm_sample(MODEL, SHORT, PIXEL, variance=Variance.FIXED_SMALL, **common)
    torch.testing.assert_close(ddim_sample(MODEL, SHORT, PIXEL, eta=1.0, **common), ancestral, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_keeps_the_marginals_of_a_point_mass(eta):
    """For every eta, x_t stays sqrt(ab) x_0 + sqrt(1 - ab) of unit noise, for a known x_0 exactly (Song, lemma 1)."""
    x_start = torch.full((2000, 1, 1, 1), 0.3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)

    def draw(_: int) -> torch.Tensor:
        return torch.randn(x_start.shape, generator=generator, dtype=torch.float64)

    schedule = respace(LINEAR, 10)
    seen: dict[int, torch.Tensor] = {}
    oracle = point_mass(LINEAR.alphas_cumprod, x_start)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen[int(t[0])] = x_t
        return oracle(x_t, t)

    x_T = schedule.alphas_cumprod[-1].sqrt() * x_start + (1 - schedule.alphas_cumprod[-1]).sqrt() * draw(0)
    ddim_sample(model, schedule, x_T, eta=eta, noise=draw, clip_x_start=False)
    for t, x_t in seen.items():
        mean, variance = 0.3 * LINEAR.alphas_cumprod[t].sqrt(), 1 - LINEAR.alphas_cumprod[t]
        assert abs(float(x_t.mean() - mean)) < 4 * math.sqrt(variance / 2000)
        assert abs(float(x_t.var() / variance) - 1) < 4 * math.sqrt(2 / 2000)


@pytest.mark.parametrize(("eta", "said"), [(-0.1, "got -0.1"), (1.1, "got 1.1"), (0.5, "pass noise, or eta=0")])
def test_ddim_refuses_an_eta_it_cannot_follow(eta, said):
    with pytest.raises(ValueError, match=said):
        ddim_sample(lambda x, t: x, SHORT, zeros(0), eta=eta)


def test_ddim_starts_where_eps_cannot():
    schedule = with_zero_terminal_snr(LINEAR)
    x_start = torch.full((2, 1, 2, 2), 0.4, dtype=torch.float64)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        noise = (x_t - schedule.alphas_cumprod[t[0]].sqrt() * x_start) / (1 - schedule.alphas_cumprod[t[0]]).sqrt()
        return target(schedule, x_start, noise, t, Parameterisation.V)

    out = ddim_sample(model, schedule, zeros(0).double() + 1.7, parameterisation=Parameterisation.V)
    torch.testing.assert_close(out, x_start)
