"""The network's prediction at x_t: eps, x_0, v or the posterior's mean, and conversions between them."""

from collections.abc import Callable
from typing import assert_never

from jaxtyping import Float, Int64
from torch import Tensor

from ddpm_core.choices import Parameterisation
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.schedule import NoiseSchedule, at

Model = Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"]], Float[Tensor, "b c_out h w"]]


def predict_x_start(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    prediction: Float[Tensor, "b c h w"],
    parameterisation: Parameterisation = Parameterisation.EPS,
) -> Float[Tensor, "b c h w"]:
    """Solve for x_0, given x_t and the network's prediction at x_t.

    For EPS, eq. (4): (x_t - sqrt(1 - alpha-bar) eps) / sqrt(alpha-bar). For V: sqrt(alpha-bar) x_t -
    sqrt(1 - alpha-bar) v. For X_PREV, eq. (7): (x_prev - coefficient x_t) / coefficient.

    Raises:
        ValueError: For EPS if alpha-bar_T is 0, because then x_T = eps for every x_0.
    """
    cumprod = schedule.alphas_cumprod
    match parameterisation:
        case Parameterisation.EPS:
            if schedule.zero_terminal_snr:
                raise ValueError("eps does not determine x_0 if alpha-bar_T is 0; predict v or x_start instead")
            factor_x_t, factor = cumprod.rsqrt(), -(1 / cumprod - 1).sqrt()
        case Parameterisation.X_START:
            return prediction
        case Parameterisation.V:
            factor_x_t, factor = cumprod.sqrt(), -(1 - cumprod).sqrt()
        case Parameterisation.X_PREV:
            factor = 1 / schedule.posterior_mean_coef_x_start
            factor_x_t = -schedule.posterior_mean_coef_x_t * factor
        case unknown:
            assert_never(unknown)
    return at(factor_x_t, t, like=x_t) * x_t + at(factor, t, like=x_t) * prediction


def predict_eps(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"], x_start: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Solve eq. (4) for eps: (x_t - sqrt(alpha-bar_t) x_0) / sqrt(1 - alpha-bar_t)."""
    return (x_t - at(schedule.alphas_cumprod.sqrt(), t, like=x_t) * x_start) * at(
        (1 - schedule.alphas_cumprod).rsqrt(), t, like=x_t
    )


def target(
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    parameterisation: Parameterisation,
) -> Float[Tensor, "b c h w"]:
    """The target of the prediction at x_t = q_sample(schedule, x_start, t, noise)."""
    match parameterisation:
        case Parameterisation.EPS:
            return noise
        case Parameterisation.X_START:
            return x_start
        case Parameterisation.V:
            cumprod = schedule.alphas_cumprod
            return at(cumprod.sqrt(), t, like=noise) * noise - at((1 - cumprod).sqrt(), t, like=noise) * x_start
        case Parameterisation.X_PREV:
            return q_posterior(schedule, x_start, q_sample(schedule, x_start, t, noise), t).mean
        case unknown:
            assert_never(unknown)


def convert(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    prediction: Float[Tensor, "b c h w"],
    *,
    source: Parameterisation,
    to: Parameterisation,
) -> Float[Tensor, "b c h w"]:
    """Convert a prediction at x_t to another parameterisation."""
    if source is to:
        return prediction
    x_start = predict_x_start(schedule, x_t, t, prediction, source)
    noise = prediction if source is Parameterisation.EPS else predict_eps(schedule, x_t, t, x_start)
    return target(schedule, x_start, noise, t, to)


def score(schedule: NoiseSchedule, t: Int64[Tensor, " b"], eps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The score that corresponds to eps, an estimate of grad log q(x_t): -eps / sqrt(1 - alpha-bar_t)."""
    return -eps * at((1 - schedule.alphas_cumprod).rsqrt(), t, like=eps)
