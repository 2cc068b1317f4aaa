"""The learned reverse process p_theta, as functions of a schedule and a network's output."""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import q_posterior
from ddpm_core.prediction import predict_x_start
from ddpm_core.schedule import NoiseSchedule, at


class ReverseStep(NamedTuple):
    """p_theta(x_{t-1} | x_t), with one variance per image or per pixel, and the predicted x_0."""

    mean: Float[Tensor, "b c h w"]
    variance: Float[Tensor, "b #c #h #w"]
    log_variance: Float[Tensor, "b #c #h #w"]
    pred_x_start: Float[Tensor, "b c h w"]


def reverse_log_variance(schedule: NoiseSchedule, variance: Variance) -> Float64[Tensor, " T"]:
    """The log of a fixed variance of p_theta(x_{t-1} | x_t) for every t.

    Fixed small is the posterior's variance. Fixed large is beta_t, but at t = 0 the posterior's variance of t = 1, as
    in Ho's code: only the decoder L_0 uses that entry, because the last step of sampling adds no noise.

    Raises:
        ValueError: For a learned variance, which has no table.
    """
    match variance:
        case Variance.FIXED_SMALL:
            return schedule.posterior_log_variance_clipped
        case Variance.FIXED_LARGE:
            return torch.cat((schedule.posterior_variance[1:2], schedule.betas[1:])).log()
        case Variance.LEARNED | Variance.LEARNED_RANGE:
            raise ValueError(f"the network predicts a {variance.value} variance; only fixed variances have a table")
        case unknown:
            assert_never(unknown)


def split_output(
    output: Float[Tensor, "b c_out h w"], channels: int, variance: Variance
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"] | None]:
    """Split a network's output into its prediction and, for a learned variance, the channels of the variance.

    Raises:
        ValueError: If the number of output channels is not the one that the variance needs.
    """
    needed = channels * (2 if variance.is_learned else 1)
    if output.shape[1] != needed:
        raise ValueError(
            f"{variance.value} variance needs {needed} output channels for {channels} image channels; "
            f"got {output.shape[1]}"
        )
    return (output[:, :channels], output[:, channels:]) if variance.is_learned else (output, None)


def p_mean_variance(
    schedule: NoiseSchedule,
    model_output: Float[Tensor, "b c_out h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    *,
    variance: Variance = Variance.FIXED_LARGE,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
) -> ReverseStep:
    """The reverse step p_theta(x_{t-1} | x_t), eq. (11), from the network's output.

    Args:
        schedule: The forward process.
        model_output: The network's output at (x_t, t): c channels of prediction, and c of variance if it is learned.
        x_t: Noisy images.
        t: Timesteps in 0..T-1, one per image.
        variance: The variance of the step.
        parameterisation: The predicted quantity.
        clip_x_start: Clamp the predicted x_0 to [-1, 1] before the mean is computed from it. A predicted x_{t-1} is
            itself the mean and stays as it is.

    Raises:
        ValueError: If the output has the wrong number of channels, or eps is predicted and alpha-bar_T is 0.
    """
    split_output(model_output, x_t.shape[1], variance)
    return p_mean_variances(schedule, model_output, x_t, t, [variance], parameterisation, clip_x_start)[0]


def p_mean_variances(
    schedule: NoiseSchedule,
    model_output: Float[Tensor, "b c_out h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    variances: Sequence[Variance],
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
) -> list[ReverseStep]:
    """The reverse steps under several variances from one network output; see `p_mean_variance`.

    A fixed variance uses the prediction only, and ignores the channels of a learned variance.
    """
    channels = x_t.shape[1]
    prediction = model_output[:, :channels]
    pred_x_start = predict_x_start(schedule, x_t, t, prediction, parameterisation)
    if clip_x_start:
        pred_x_start = pred_x_start.clamp(-1, 1)
    if parameterisation is Parameterisation.X_PREV:
        mean = prediction
    else:
        mean = q_posterior(schedule, pred_x_start, x_t, t).mean
    steps = []
    for variance in variances:
        about_variance = split_output(model_output, channels, variance)[1] if variance.is_learned else None
        log_variance, squared = _reverse_variance(schedule, about_variance, t, variance, like=x_t)
        steps.append(ReverseStep(mean=mean, variance=squared, log_variance=log_variance, pred_x_start=pred_x_start))
    return steps


def _reverse_variance(
    schedule: NoiseSchedule,
    about_variance: Float[Tensor, "b c h w"] | None,
    t: Int64[Tensor, " b"],
    variance: Variance,
    like: Float[Tensor, "b c h w"],
) -> tuple[Float[Tensor, "b #c #h #w"], Float[Tensor, "b #c #h #w"]]:
    if about_variance is None:
        table = reverse_log_variance(schedule, variance)
        return at(table, t, like=like), at(table.exp(), t, like=like)
    log_variance = about_variance
    if variance is Variance.LEARNED_RANGE:
        low = at(schedule.posterior_log_variance_clipped, t, like=like)
        share = (about_variance + 1) / 2
        log_variance = share * at(schedule.betas.log(), t, like=like) + (1 - share) * low
    return log_variance, log_variance.exp()
