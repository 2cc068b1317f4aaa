"""Pixels, draws and schedules for the statements of the seed document."""

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss

from ddpm_core.schedule import NoiseSchedule, custom_schedule, linear_schedule

LINEAR = linear_schedule()
SHORT = linear_schedule(20, 0.02, 0.3)
GREY = 100 / 127.5 - 1


def schedule_of(*betas: float) -> NoiseSchedule:
    return custom_schedule(torch.tensor(betas, dtype=torch.float64))


def pixels(values: object) -> torch.Tensor:
    """One image of one pixel for each value."""
    return torch.as_tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1)


def draws(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_normal(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights whose weighted sum is a standard normal's expectation."""
    nodes, weights = hermegauss(count)
    return nodes, weights / weights.sum()
