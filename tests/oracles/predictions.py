"""The right prediction of a network, from its definition in plain floats, at six timesteps of the linear schedule."""

import torch

from ddpm_core.choices import Parameterisation
from ddpm_core.schedule import linear_schedule

SCHEDULE = linear_schedule()
T = torch.tensor([0, 1, 2, 250, 998, 999])


def images(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """One standard normal image for each of T."""
    return torch.randn(len(T), 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def column(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 1, 1, 1)


def truth(parameterisation: Parameterisation, x_start: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the quantity to predict, from its definition and plain floats."""
    cumprod, prev = column(SCHEDULE.alphas_cumprod[T]), column(SCHEDULE.alphas_cumprod_prev[T])
    alpha = cumprod / prev
    x_t = cumprod.sqrt() * x_start + (1 - cumprod).sqrt() * noise
    posterior = (prev.sqrt() * (1 - alpha) * x_start + alpha.sqrt() * (1 - prev) * x_t) / (1 - cumprod)
    return {
        Parameterisation.EPS: noise,
        Parameterisation.X_START: x_start,
        Parameterisation.V: cumprod.sqrt() * noise - (1 - cumprod).sqrt() * x_start,
        Parameterisation.X_PREV: posterior,
    }[parameterisation]
