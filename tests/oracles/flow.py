"""The exact probability flow of Gaussian data, and how far a solver stays from it."""

import math

import torch

from ddpm_core.schedule import NoiseSchedule, alphas_cumprod_schedule
from tests.oracles.denoisers import gaussian

DATA_MEAN, DATA_VARIANCE = 0.1, 0.25
PIXEL = torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)


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
