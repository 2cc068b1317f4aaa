"""The forward process q and its posterior, as functions of a schedule."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule, at


class Gaussian(NamedTuple):
    """A Gaussian over images, with one variance per image."""

    mean: Float[Tensor, "b c h w"]
    variance: Float[Tensor, "b 1 1 1"]
    log_variance: Float[Tensor, "b 1 1 1"]


def timestep_batch(t: int, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, " b"]:
    """The same timestep for every image of `x`."""
    return torch.full((len(x),), t, dtype=torch.int64, device=x.device)


def q_sample(
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
) -> Float[Tensor, "b c h w"]:
    """Draw x_t from q(x_t | x_0) = N(sqrt(alpha-bar_t) x_0, (1 - alpha-bar_t) I), eq. (4).

    Args:
        schedule: The forward process.
        x_start: Clean images x_0, values in [-1, 1].
        t: Timesteps in 0..T-1, one per image.
        noise: Standard normal noise, drawn by the caller.
    """
    return (
        at(schedule.alphas_cumprod.sqrt(), t, like=x_start) * x_start
        + at((1 - schedule.alphas_cumprod).sqrt(), t, like=x_start) * noise
    )


def q_posterior(
    schedule: NoiseSchedule, x_start: Float[Tensor, "b c h w"], x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]
) -> Gaussian:
    """The posterior q(x_{t-1} | x_t, x_0), eqs. (6) and (7); at t = 0 its log variance is that of t = 1."""
    mean = (
        at(schedule.posterior_mean_coef_x_start, t, like=x_t) * x_start
        + at(schedule.posterior_mean_coef_x_t, t, like=x_t) * x_t
    )
    return Gaussian(
        mean=mean,
        variance=at(schedule.posterior_variance, t, like=x_t),
        log_variance=at(schedule.posterior_log_variance_clipped, t, like=x_t),
    )
