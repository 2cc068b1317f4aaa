"""DDIM, its inversion and the probability flow's equation against the flow of Gaussian data."""

import math
from functools import partial

import pytest
import torch

from ddpm_core.diffusion import Parameterisation, Variance, convert, target
from ddpm_core.sampler import ddim_invert, ddim_sample, ddpm_sample, ode_sample
from ddpm_core.schedule import NoiseSchedule, alphas_cumprod_schedule, linear_schedule, respace, with_zero_terminal_snr
from tests.oracles.denoisers import gaussian, point_mass
from tests.oracles.noise import zeros

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 50)
DATA_MEAN, DATA_VARIANCE = 0.1, 0.25
PIXEL = torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
MODEL = gaussian(LINEAR.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)


def flow(schedule: NoiseSchedule, x_T: torch.Tensor) -> torch.Tensor:
    """The exact probability flow of Gaussian data: what stays is the number of standard deviations from the mean."""
    cumprod = schedule.alphas_cumprod[-1]
    spread = cumprod * DATA_VARIANCE + 1 - cumprod
    return DATA_MEAN + math.sqrt(DATA_VARIANCE) * (x_T - cumprod.sqrt() * DATA_MEAN) / spread.sqrt()


def refined(count: int) -> NoiseSchedule:
    """Nodes sigma_i = 20 ((i + 1) / count)^3: one curve, finer with more nodes; the first tends to 0 as 1 / count^3."""
    sigma = 20 * (torch.arange(1, count + 1, dtype=torch.float64) / count) ** 3
    return alphas_cumprod_schedule(1 / (1 + sigma**2))


def errors(solve, counts: tuple[int, ...]) -> list[float]:
    found = []
    for count in counts:
        schedule = refined(count)
        model = gaussian(schedule.alphas_cumprod, DATA_MEAN, DATA_VARIANCE)
        found.append(float((solve(model, schedule, PIXEL) - flow(schedule, PIXEL)).abs().max()))
    return found


def test_ddim_follows_the_probability_flow_to_first_order():
    coarse, fine, finest = errors(partial(ddim_sample, clip_x_start=False), (100, 200, 400))
    assert coarse / fine == pytest.approx(2, rel=0.1)
    assert fine / finest == pytest.approx(2, rel=0.05)


def test_the_ode_is_solved_to_second_order():
    coarse, fine, finest = errors(ode_sample, (50, 100, 200))
    assert coarse / fine == pytest.approx(4, rel=0.1)
    assert fine / finest == pytest.approx(4, rel=0.1)
    assert finest < 1e-3


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
    """Whatever eta, x_t stays sqrt(ab) x_0 + sqrt(1 - ab) of unit noise, for a known x_0 exactly (Song, lemma 1)."""
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


@pytest.mark.parametrize(("eta", "said"), [(-0.1, "got -0.1"), (1.1, "got 1.1"), (0.5, "give noise, or eta=0")])
def test_ddim_refuses_an_eta_it_cannot_follow(eta, said):
    with pytest.raises(ValueError, match=said):
        ddim_sample(lambda x, t: x, SHORT, zeros(0), eta=eta)


def test_the_ode_has_no_start_at_infinity():
    with pytest.raises(ValueError, match="use ddim_sample"):
        ode_sample(lambda x, t: x, with_zero_terminal_snr(LINEAR), zeros(0), parameterisation=Parameterisation.V)


def test_ddim_starts_where_eps_cannot():
    schedule = with_zero_terminal_snr(LINEAR)
    x_start = torch.full((2, 1, 2, 2), 0.4, dtype=torch.float64)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        noise = (x_t - schedule.alphas_cumprod[t[0]].sqrt() * x_start) / (1 - schedule.alphas_cumprod[t[0]]).sqrt()
        return target(schedule, x_start, noise, t, Parameterisation.V)

    out = ddim_sample(model, schedule, zeros(0).double() + 1.7, parameterisation=Parameterisation.V)
    torch.testing.assert_close(out, x_start)


def test_the_odes_steps_show_x_0():
    seen: list[tuple[int, torch.Tensor]] = []
    x_start = torch.full((2, 1, 2, 2), 0.4, dtype=torch.float64)
    out = ode_sample(
        point_mass(LINEAR.alphas_cumprod, x_start), SHORT, zeros(0).double(), on_step=lambda t, x: seen.append((t, x))
    )
    assert [t for t, _ in seen] == list(range(49, -1, -1))
    for _, x in seen:
        torch.testing.assert_close(x, x_start)
    torch.testing.assert_close(out, x_start)
