"""The forward process q and the learned reverse process p_theta, as functions of a schedule."""

from enum import Enum
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule, at


class Variance(Enum):
    """The fixed variance of p_theta(x_{t-1} | x_t), Ho et al. section 3.2."""

    FIXED_SMALL = "fixed_small"
    FIXED_LARGE = "fixed_large"


class Gaussian(NamedTuple):
    """A Gaussian over images with one variance for each image."""

    mean: Float[Tensor, "b c h w"]
    variance: Float[Tensor, "b 1 1 1"]
    log_variance: Float[Tensor, "b 1 1 1"]


class ReverseStep(NamedTuple):
    """p_theta(x_{t-1} | x_t) and the prediction of x_0 that its mean was made from."""

    mean: Float[Tensor, "b c h w"]
    variance: Float[Tensor, "b 1 1 1"]
    log_variance: Float[Tensor, "b 1 1 1"]
    pred_x_start: Float[Tensor, "b c h w"]


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
        t: Timesteps in 0..T-1, one for each image.
        noise: Standard normal noise, drawn by the caller.
    """
    return (
        at(schedule.alphas_cumprod.sqrt(), t, like=x_start) * x_start
        + at((1 - schedule.alphas_cumprod).sqrt(), t, like=x_start) * noise
    )


def q_posterior(
    schedule: NoiseSchedule, x_start: Float[Tensor, "b c h w"], x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]
) -> Gaussian:
    """The posterior q(x_{t-1} | x_t, x_0), eqs. (6) and (7); its log variance at t = 0 is that of t = 1."""
    mean = (
        at(schedule.posterior_mean_coef_x_start, t, like=x_t) * x_start
        + at(schedule.posterior_mean_coef_x_t, t, like=x_t) * x_t
    )
    return Gaussian(
        mean=mean,
        variance=at(schedule.posterior_variance, t, like=x_t),
        log_variance=at(schedule.posterior_log_variance_clipped, t, like=x_t),
    )


def predict_x_start(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"], eps: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Solve eq. (4) for x_0: (x_t - sqrt(1 - alpha-bar_t) eps) / sqrt(alpha-bar_t)."""
    return (
        at(schedule.alphas_cumprod.rsqrt(), t, like=x_t) * x_t
        - at((1 / schedule.alphas_cumprod - 1).sqrt(), t, like=x_t) * eps
    )


def predict_eps(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"], x_start: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Solve eq. (4) for eps: (x_t - sqrt(alpha-bar_t) x_0) / sqrt(1 - alpha-bar_t)."""
    return (x_t - at(schedule.alphas_cumprod.sqrt(), t, like=x_t) * x_start) * at(
        (1 - schedule.alphas_cumprod).rsqrt(), t, like=x_t
    )


def score(schedule: NoiseSchedule, t: Int64[Tensor, " b"], eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The score, the gradient of log q(x_t) that eps stands for: -eps / sqrt(1 - alpha-bar_t)."""
    return -eps * at((1 - schedule.alphas_cumprod).rsqrt(), t, like=eps)


def reverse_log_variance(schedule: NoiseSchedule, variance: Variance) -> Float64[Tensor, " T"]:
    """The log variance of p_theta(x_{t-1} | x_t) for every t.

    Fixed small is the posterior's; fixed large is beta_t, but at t = 0 the posterior's of t = 1, as in Ho's code: that
    entry serves the decoder L_0 alone, since the last step of sampling adds no noise.
    """
    match variance:
        case Variance.FIXED_SMALL:
            return schedule.posterior_log_variance_clipped
        case Variance.FIXED_LARGE:
            return torch.cat((schedule.posterior_variance[1:2], schedule.betas[1:])).log()


def p_mean_variance(
    schedule: NoiseSchedule,
    pred_eps: Float[Tensor, "b c h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    *,
    variance: Variance = Variance.FIXED_LARGE,
    clip_x_start: bool = True,
) -> ReverseStep:
    """The reverse step p_theta(x_{t-1} | x_t), eq. (11), from a prediction of eps.

    Args:
        schedule: The forward process.
        pred_eps: eps_theta(x_t, t).
        x_t: Noisy images.
        t: Timesteps in 0..T-1, one for each image.
        variance: Which fixed variance.
        clip_x_start: Clamp the predicted x_0 to [-1, 1] before the mean is computed from it.
    """
    pred_x_start = predict_x_start(schedule, x_t, t, pred_eps)
    if clip_x_start:
        pred_x_start = pred_x_start.clamp(-1, 1)
    log_variance = reverse_log_variance(schedule, variance)
    return ReverseStep(
        mean=q_posterior(schedule, pred_x_start, x_t, t).mean,
        variance=at(log_variance.exp(), t, like=x_t),
        log_variance=at(log_variance, t, like=x_t),
        pred_x_start=pred_x_start,
    )
