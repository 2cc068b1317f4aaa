"""The variational bound on the negative log-likelihood, term by term, in bits per dimension (Ho et al. eq. (5)).

Terms are computed in nats, in float64 from the network's float32 output, and turned into bits/dim once, at the end:
averaged over c, h, w and divided by ln 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import q_posterior, q_sample, timestep_batch
from ddpm_core.gaussian import NormalCdf, discretized_gaussian_log_likelihood, normal_kl
from ddpm_core.prediction import Model, convert
from ddpm_core.reverse import ReverseStep, p_mean_variances
from ddpm_core.schedule import NoiseSchedule


class BitsPerDim(NamedTuple):
    """The bound of each image, in bits/dim.

    Attributes:
        prior_bpd: L_T, KL(q(x_T | x_0) || N(0, I)).
        step_bpd: KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) for t = 1..T-1, the paper's L_{t-1}, each from one
            draw of x_t.
        decoder_bpd: L_0, -log p_theta(x_0 | x_1), at t = 0.
        total_bpd: Their sum.
        eps_mse: Mean over c, h, w of (eps - eps_theta)^2 at t = 0..T-1; not part of the bound.
        x_start_mse: The same mean of (x_0 - predicted x_0)^2; the prediction is clipped if the bound clips it.
    """

    prior_bpd: Float64[Tensor, " b"]
    step_bpd: Float64[Tensor, "b T_minus_1"]
    decoder_bpd: Float64[Tensor, " b"]
    total_bpd: Float64[Tensor, " b"]
    eps_mse: Float64[Tensor, "b T"]
    x_start_mse: Float64[Tensor, "b T"]


class RateDistortion(NamedTuple):
    """The bits sent up to x_t and the error of the receiver's guess of x_0 at that point, for t = 0..T-1.

    Both are means over images.

    Attributes:
        rate: Bits/dim sent: L_T plus the terms of all timesteps above t.
        rmse: Root mean squared error of the predicted x_0, on the scale 0..255.
    """

    rate: Float64[Tensor, " T"]
    rmse: Float64[Tensor, " T"]


def to_bits_per_dim(nats: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Mean over c, h, w, in bits instead of nats."""
    return nats.mean(dim=(1, 2, 3)) / math.log(2)


def prior_bits_per_dim(schedule: NoiseSchedule, x_start: Float[Tensor, "b c h w"]) -> Float64[Tensor, " b"]:
    """L_T: KL(N(sqrt(alpha-bar_T) x_0, (1 - alpha-bar_T) I) || N(0, I)) of each image, in bits/dim."""
    cumprod = schedule.alphas_cumprod[-1]
    zero = torch.zeros_like(cumprod)
    return to_bits_per_dim(normal_kl(cumprod.sqrt() * x_start.double(), torch.log1p(-cumprod), zero, zero))


def step_bits_per_dim(
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    reverse: ReverseStep,
) -> Float[Tensor, " b"]:
    """KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) of each image, t >= 1, in bits/dim."""
    posterior = q_posterior(schedule, x_start, x_t, t)
    return to_bits_per_dim(normal_kl(posterior.mean, posterior.log_variance, reverse.mean, reverse.log_variance))


def decoder_bits_per_dim(
    x_start: Float[Tensor, "b c h w"], reverse: ReverseStep, *, cdf: NormalCdf = NormalCdf.EXACT
) -> Float[Tensor, " b"]:
    """L_0 = -log p_theta(x_0 | x_1) of each image, from the reverse step at t = 0, in bits/dim."""
    log_std = 0.5 * reverse.log_variance
    return to_bits_per_dim(-discretized_gaussian_log_likelihood(x_start, reverse.mean, log_std, cdf=cdf))


def bits_per_dim_by_variance(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    variances: Sequence[Variance],
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
    cdf: NormalCdf = NormalCdf.EXACT,
) -> list[BitsPerDim]:
    """Bound the negative log-likelihood of each image under several variances from the same T network calls.

    Args:
        model: The network, as a callable `(x_t, t) -> output` in float32 or better. Fixed variances use the first c
            channels and ignore those of a learned variance.
        schedule: The chain.
        x_start: Images on the grid x/127.5 - 1, x in 0..255.
        noise: Returns the standard normal draw that makes x_t; called once for each t = 0..T-1.
        variances: Variances of the reverse step, at least one; results come in this order.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp predicted x_0 to [-1, 1] (on in published figures).
        cdf: The decoder's form of Phi.
    """
    channels = x_start.shape[1]
    columns: list[list[Float64[Tensor, " b"]]] = [[] for _ in variances]
    eps_mse, x_start_mse = [], []
    for t in range(schedule.num_timesteps):
        steps = timestep_batch(t, x_start)
        eps = noise(t)
        x_t = q_sample(schedule, x_start, steps, eps)
        # In float64, because the difference of two means is squared and divided by a variance as small as 5e-5.
        output, clean, noisy = model(x_t, schedule.timesteps[steps]).double(), x_start.double(), x_t.double()
        reverses = p_mean_variances(schedule, output, noisy, steps, variances, parameterisation, clip_x_start)
        pred_eps = convert(
            schedule, noisy, steps, output[:, :channels], source=parameterisation, to=Parameterisation.EPS
        )
        eps_mse.append(((eps.double() - pred_eps) ** 2).mean(dim=(1, 2, 3)))
        x_start_mse.append(((clean - reverses[0].pred_x_start) ** 2).mean(dim=(1, 2, 3)))
        for column, reverse in zip(columns, reverses, strict=True):
            if t == 0:
                column.append(decoder_bits_per_dim(clean, reverse, cdf=cdf))
            else:
                column.append(step_bits_per_dim(schedule, clean, noisy, steps, reverse))
    prior = prior_bits_per_dim(schedule, x_start)
    errors = torch.stack(eps_mse, dim=1), torch.stack(x_start_mse, dim=1)
    return [_collect(prior, torch.stack(column, dim=1), *errors) for column in columns]


def _collect(
    prior: Float64[Tensor, " b"],
    terms: Float64[Tensor, "b T"],
    eps_mse: Float64[Tensor, "b T"],
    x_start_mse: Float64[Tensor, "b T"],
) -> BitsPerDim:
    return BitsPerDim(
        prior_bpd=prior,
        step_bpd=terms[:, 1:],
        decoder_bpd=terms[:, 0],
        total_bpd=prior + terms.sum(dim=1),
        eps_mse=eps_mse,
        x_start_mse=x_start_mse,
    )


def rate_distortion(bound: BitsPerDim) -> RateDistortion:
    """The rate and the distortion after each timestep, Ho et al. section 4.3 and table 4.

    At t the receiver knows x_t, at a cost of `rate[t]` = L_T + sum of the terms above t. Its guess of x_0 is the
    network's prediction.
    """
    steps = bound.step_bpd.mean(dim=0)
    later = steps.flip(0).cumsum(0).flip(0)
    rate = bound.prior_bpd.mean() + torch.cat((later, later.new_zeros(1)))
    return RateDistortion(rate=rate, rmse=127.5 * bound.x_start_mse.mean(dim=0).sqrt())


def bits_per_dim(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    variance: Variance = Variance.FIXED_LARGE,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
    cdf: NormalCdf = NormalCdf.EXACT,
) -> BitsPerDim:
    """The bound under one variance; see `bits_per_dim_by_variance`."""
    (result,) = bits_per_dim_by_variance(
        model,
        schedule,
        x_start,
        noise=noise,
        variances=[variance],
        parameterisation=parameterisation,
        clip_x_start=clip_x_start,
        cdf=cdf,
    )
    return result
