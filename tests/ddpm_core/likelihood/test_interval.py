"""Intervals of two standard errors cover the truth in 95 % of runs, for each kind of likelihood.

The data are Gaussian pixels on the grid of grey levels and the denoiser is the exact one, so that every likelihood is a
function of a pixel's level and of the noise at that pixel; its mean is a sum over levels and a quadrature over noise.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ddpm_core.choices import Variance
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.flow import dequantised, flow_bits_per_dim
from ddpm_core.likelihood.interval import Interval, interval
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.schedule import linear_schedule
from tests.oracles.denoisers import gaussian

MEAN, VARIANCE, TIMESTEPS, CALLS = 0.1, 0.09, 8, 2
SCHEDULE = linear_schedule(TIMESTEPS, 0.01, 0.6)
MODEL = gaussian(SCHEDULE.alphas_cumprod, MEAN, VARIANCE)
RUNS, IMAGES, DRAWS, SHAPE = 1000, 24, 3, (1, 2, 2)
LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1
SHARES = torch.distributions.Normal(MEAN, math.sqrt(VARIANCE)).log_prob(LEVELS).softmax(0)
PROPOSAL = TimestepProposal(torch.linspace(3, 1, TIMESTEPS - 1, dtype=torch.float64).softmax(0))

Draw = Callable[[int], torch.Tensor]


def bound(x_start: torch.Tensor, noise: Draw, _uniform: Draw) -> torch.Tensor:
    return bits_per_dim(MODEL, SCHEDULE, x_start, noise=noise, variance=Variance.FIXED_LARGE).total_bpd


def estimate(x_start: torch.Tensor, noise: Draw, uniform: Draw) -> torch.Tensor:
    uniforms = torch.stack([uniform(k)[:, 0, 0, 0] for k in range(CALLS)], dim=1)
    (found,) = estimate_bits_per_dim(
        MODEL,
        SCHEDULE,
        x_start,
        noise=noise,
        uniforms=uniforms,
        proposal=PROPOSAL,
        variances=[Variance.FIXED_LARGE],
    )
    return found.total_bpd


def flow(x_start: torch.Tensor, _noise: Draw, uniform: Draw) -> torch.Tensor:
    return flow_bits_per_dim(MODEL, SCHEDULE, dequantised(x_start, uniform(0)))


def expected_bits(kind: Callable[..., torch.Tensor]) -> torch.Tensor:
    """The mean over noise for a pixel of each level; the estimate has that of the bound, which it estimates."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64) if kind is not flow else np.polynomial.legendre.leggauss(64)
    nodes, weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    pixels = LEVELS.repeat_interleave(64).reshape(-1, 1, 1, 1)
    drawn = nodes.repeat(256).reshape(-1, 1, 1, 1)
    found = (flow if kind is flow else bound)(pixels, lambda _: drawn, lambda _: (drawn + 1) / 2)
    return found.reshape(256, 64) @ weights


def runs(kind: Callable[..., torch.Tensor], levels: torch.Tensor) -> list[Interval]:
    """Measure these levels, long [n, *SHAPE] per run, under several draws of noise each; all runs at once."""
    generator = torch.Generator().manual_seed(3)
    x_start = LEVELS[levels].flatten(0, 1)

    def normal(_: int) -> torch.Tensor:
        return torch.randn(x_start.shape, generator=generator, dtype=torch.float64)

    def uniform(_: int) -> torch.Tensor:
        return torch.rand(x_start.shape, generator=generator, dtype=torch.float64)

    rows = torch.stack([kind(x_start, normal, uniform).reshape(RUNS, IMAGES) for _ in range(DRAWS)], dim=1)
    return [interval(of_run) for of_run in rows]


def covered(intervals: list[Interval], truth: torch.Tensor, errors: list[float]) -> float:
    gaps = torch.tensor([one.value for one in intervals]) - truth
    return float((gaps.abs() < 2 * torch.tensor(errors)).double().mean())


def levels_of(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.multinomial(SHARES, math.prod(shape), replacement=True, generator=generator).reshape(shape)


@pytest.mark.parametrize("kind", [bound, estimate, flow])
def test_two_errors_over_images_cover_the_mean_over_all_images(kind: Callable[..., torch.Tensor]) -> None:
    found = runs(kind, levels_of(RUNS, IMAGES, *SHAPE))
    truth = (expected_bits(kind) @ SHARES).expand(RUNS)
    # Of Student's t with 23 degrees of freedom 94.2 % lie within 2; 1000 runs leave 0.7 % to chance.
    assert 0.92 < covered(found, truth, [one.standard_error for one in found]) < 0.97


@pytest.mark.parametrize("kind", [bound, estimate, flow])
def test_two_errors_over_noise_cover_these_images_own_mean(kind: Callable[..., torch.Tensor]) -> None:
    """The same images in every run, so the error over images is too wide here."""
    levels = levels_of(IMAGES, *SHAPE)
    found = runs(kind, levels.expand(RUNS, *levels.shape))
    truth = expected_bits(kind)[levels].mean().expand(RUNS)
    errors = [one.noise_standard_error for one in found]
    assert 0.93 < (share := covered(found, truth, errors)) < 0.975
    assert covered(found, truth, [one.standard_error for one in found]) > share + 0.01


def test_the_error_over_images_contains_the_noise() -> None:
    """Equal images differ by noise alone: the two errors then estimate the same number."""
    levels = torch.full((RUNS, IMAGES, *SHAPE), 140)
    found = runs(estimate, levels)
    over_images = sum(one.standard_error**2 for one in found) / RUNS
    over_noise = sum(one.noise_standard_error**2 for one in found) / RUNS
    assert over_images == pytest.approx(over_noise, rel=0.05)


def test_an_interval_by_hand() -> None:
    rows = torch.tensor([[1.0, 3.0, 8.0], [2.0, 5.0, 5.0]], dtype=torch.float64)
    found = interval(rows)
    assert found.value == 4
    assert found.standard_error == pytest.approx(np.std([1.5, 4, 6.5], ddof=1) / math.sqrt(3))
    assert found.noise_standard_error == pytest.approx(math.sqrt((0.5 + 2 + 4.5) / 3 / 6))
    assert interval(rows[:1]).noise_standard_error is None
