import math

import numpy as np
import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.schedule import NoiseSchedule, linear_schedule, respace
from tests.ddpm_core.samplers.noise import zeros
from tests.oracles.denoisers import gaussian, point_mass

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 50)


def reverse_chain_moments(
    betas: np.ndarray, variance: Variance, data_mean: float, data_variance: float
) -> tuple[float, float]:
    """Mean and variance of the final samples for Gaussian data, by recipe.md section 5's scalar recursion."""
    cumprod = np.cumprod(1 - betas)
    before = np.r_[1, cumprod[:-1]]
    posterior = betas * (1 - before) / (1 - cumprod)
    added = betas if variance is Variance.FIXED_LARGE else posterior
    mean, spread = 0.0, 1.0
    for t in reversed(range(len(betas))):
        gain = math.sqrt(cumprod[t]) * data_variance / (cumprod[t] * data_variance + 1 - cumprod[t])
        from_start = betas[t] * math.sqrt(before[t]) / (1 - cumprod[t])
        factor = from_start * gain + (1 - before[t]) * math.sqrt(1 - betas[t]) / (1 - cumprod[t])
        mean = factor * mean + from_start * data_mean * (1 - gain * math.sqrt(cumprod[t]))
        spread = factor**2 * spread + (added[t] if t else 0)
    return mean, spread


def exact_moments(
    schedule: NoiseSchedule, variance: Variance, data_mean: float, data_variance: float
) -> tuple[float, float]:
    """The same from the sampler itself, without chance: a linear chain's answer to a unit of each draw alone.

    Image 0 sees no noise, image 1 a unit of x_T, image 1 + t a unit of z_t; squared answers add up to the variance.
    """
    count = schedule.num_timesteps

    def unit(number: int) -> torch.Tensor:
        one = torch.zeros(count + 1, 1, 1, 1, dtype=torch.float64)
        one[number] = 1
        return one

    out = ddpm_sample(
        gaussian(LINEAR.alphas_cumprod, data_mean, data_variance),
        schedule,
        unit(1),
        noise=lambda t: unit(1 + t),
        variance=variance,
        clip_x_start=False,
    ).flatten()
    return float(out[0]), float(((out[1:] - out[0]) ** 2).sum())


@pytest.mark.parametrize(
    ("data_mean", "data_variance", "variance", "expected_mean", "expected_variance"),
    [  # recipe.md section 5, run in float64 numpy
        (0, 1, Variance.FIXED_LARGE, 0, 0.999900000),
        (0, 1, Variance.FIXED_SMALL, 0, 0.991067376),
        (0.1, 0.25, Variance.FIXED_LARGE, 0.099998991, 0.250752075),
        (0.1, 0.25, Variance.FIXED_SMALL, 0.099998991, 0.246125211),
    ],
)
def test_gaussian_data_come_out_of_1000_steps_with_the_exact_moments(
    data_mean, data_variance, variance, expected_mean, expected_variance
):
    mean, spread = exact_moments(LINEAR, variance, data_mean, data_variance)
    assert mean == pytest.approx(expected_mean, abs=1e-9)
    assert spread == pytest.approx(expected_variance, abs=1e-9)
    recursion = reverse_chain_moments(np.linspace(1e-4, 0.02, 1000), variance, data_mean, data_variance)
    assert (mean, spread) == pytest.approx(recursion, abs=1e-10)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
@pytest.mark.parametrize("num_steps", [2, 10, 50])
def test_gaussian_data_come_out_of_a_respaced_chain_with_its_exact_moments(num_steps, variance):
    kept = np.rint(np.linspace(0, 999, num_steps)).astype(int)
    cumprod = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[kept]
    recursion = reverse_chain_moments(1 - cumprod / np.r_[1, cumprod[:-1]], variance, 0.1, 0.25)
    assert exact_moments(respace(LINEAR, num_steps), variance, 0.1, 0.25) == pytest.approx(recursion, abs=1e-9)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
@pytest.mark.parametrize("schedule", [LINEAR, SHORT], ids=["1000 steps", "50 steps"])
def test_drawn_samples_agree_with_the_exact_moments(schedule, variance):
    generator = torch.Generator().manual_seed(0)

    def draw(_: int) -> torch.Tensor:
        return torch.randn(4000, 1, 2, 2, generator=generator)

    model = gaussian(LINEAR.alphas_cumprod, 0.1, 0.25)
    out = ddpm_sample(model, schedule, draw(0), noise=draw, variance=variance, clip_x_start=False).double()
    mean, spread = reverse_chain_moments(schedule.betas.numpy(), variance, 0.1, 0.25)
    assert abs(float(out.mean()) - mean) < 4 * math.sqrt(spread / out.numel())
    assert abs(float(out.var()) - spread) < 4 * spread * math.sqrt(2 / out.numel())


@pytest.mark.parametrize("clip", [True, False])
def test_a_point_mass_is_reached_exactly(clip):
    target = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(2, 1, 2, 2)
    generator = torch.Generator().manual_seed(0)

    def draw(_: int) -> torch.Tensor:
        return torch.randn(2, 1, 2, 2, generator=generator, dtype=torch.float64)

    model = point_mass(LINEAR.alphas_cumprod, target)
    out = ddpm_sample(model, SHORT, draw(0), noise=draw, clip_x_start=clip)
    torch.testing.assert_close(out, target, rtol=0, atol=1e-10)


@pytest.mark.parametrize("schedule", [linear_schedule(5), respace(LINEAR, 4)], ids=["full", "respaced"])
def test_the_network_is_called_once_a_step_and_told_the_original_timesteps(schedule):
    told: list[list[int]] = []

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        told.append(t.tolist())
        return torch.zeros_like(x_t)

    ddpm_sample(model, schedule, zeros(0), noise=zeros)
    assert told == [[t, t] for t in reversed(schedule.timesteps.tolist())]


def test_noise_is_asked_once_for_each_step_but_the_last():
    asked: list[int] = []

    def noise(t: int) -> torch.Tensor:
        asked.append(t)
        return zeros(t)

    ddpm_sample(lambda x_t, t: torch.zeros_like(x_t), linear_schedule(5), zeros(0), noise=noise)
    assert asked == [4, 3, 2, 1]


def test_each_step_is_reported_with_the_prediction_it_was_made_from():
    seen: list[tuple[int, torch.Tensor]] = []
    model = point_mass(LINEAR.alphas_cumprod, torch.full((2, 1, 2, 2), 0.5))
    out = ddpm_sample(model, SHORT, zeros(0), noise=zeros, on_step=lambda t, x: seen.append((t, x)))
    assert [t for t, _ in seen] == list(range(49, -1, -1))
    for _, x_start in seen:
        torch.testing.assert_close(x_start, torch.full((2, 1, 2, 2), 0.5), rtol=0, atol=1e-3)
    torch.testing.assert_close(out, seen[-1][1])


def test_clipped_samples_lie_within_the_range_whatever_the_network_says():
    generator = torch.Generator().manual_seed(0)

    def draw(_: int) -> torch.Tensor:
        return torch.randn(2, 1, 2, 2, generator=generator)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 100 * draw(0)

    bounded, free = (ddpm_sample(model, SHORT, draw(0), noise=draw, clip_x_start=clip) for clip in (True, False))
    assert float(bounded.abs().max()) <= 1 + 1e-6
    assert float(free.abs().max()) > 2


def test_the_callers_start_is_left_alone():
    x_T = torch.ones(2, 1, 2, 2)
    ddpm_sample(lambda x_t, t: x_t, linear_schedule(5), x_T, noise=zeros)
    assert torch.equal(x_T, torch.ones(2, 1, 2, 2))
