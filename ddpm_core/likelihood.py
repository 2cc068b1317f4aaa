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

from ddpm_core.diffusion import Variance, p_mean_variance, q_posterior, q_sample, reverse_log_variance
from ddpm_core.gaussian import NormalCdf, discretized_gaussian_log_likelihood, normal_kl
from ddpm_core.schedule import NoiseSchedule, at


class BitsPerDim(NamedTuple):
    """The bound of each image, in bits/dim.

    Attributes:
        prior_bpd: L_T, KL(q(x_T | x_0) || N(0, I)).
        step_bpd: L_{t-1} of the paper for t = 1..T-1 here, KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)), one
            draw of x_t each.
        decoder_bpd: L_0, -log p_theta(x_0 | x_1), at t = 0.
        total_bpd: Their sum.
        eps_mse: Mean over c, h, w of (eps - eps_theta)^2 at t = 0..T-1; no part of the bound.
    """

    prior_bpd: Float64[Tensor, " b"]
    step_bpd: Float64[Tensor, "b T_minus_1"]
    decoder_bpd: Float64[Tensor, " b"]
    total_bpd: Float64[Tensor, " b"]
    eps_mse: Float64[Tensor, "b T"]


def to_bits_per_dim(nats: Float64[Tensor, "b c h w"]) -> Float64[Tensor, " b"]:
    """Mean over c, h, w, in bits instead of nats."""
    return nats.mean(dim=(1, 2, 3)) / math.log(2)


def prior_bits_per_dim(schedule: NoiseSchedule, x_start: Float[Tensor, "b c h w"]) -> Float64[Tensor, " b"]:
    """L_T: KL(N(sqrt(alpha-bar_T) x_0, (1 - alpha-bar_T) I) || N(0, I)) of each image, in bits/dim."""
    cumprod = schedule.alphas_cumprod[-1]
    zero = torch.zeros_like(cumprod)
    return to_bits_per_dim(normal_kl(cumprod.sqrt() * x_start.double(), torch.log1p(-cumprod), zero, zero))


def bits_per_dim_by_variance(
    model: Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"]], Float[Tensor, "b c h w"]],
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    variances: Sequence[Variance],
    clip_x_start: bool = True,
    cdf: NormalCdf = NormalCdf.EXACT,
) -> list[BitsPerDim]:
    """Bound the negative log-likelihood of each image under several fixed variances from the same T network calls.

    Args:
        model: eps_theta, as a callable `(x_t, t) -> pred_eps` in float32 or better.
        schedule: The chain.
        x_start: Images on the grid x/127.5 - 1, x in 0..255.
        noise: The standard normal draw that makes x_t, asked once for each t = 0..T-1.
        variances: One result for each, in this order.
        clip_x_start: Clamp predicted x_0 to [-1, 1] (on in published figures).
        cdf: The decoder's form of Phi.
    """
    log_variances = [reverse_log_variance(schedule, variance) for variance in variances]
    columns: list[list[Float64[Tensor, " b"]]] = [[] for _ in variances]
    eps_mse = []
    for t in range(schedule.num_timesteps):
        steps = torch.full((len(x_start),), t, dtype=torch.int64, device=x_start.device)
        eps = noise(t)
        x_t = q_sample(schedule, x_start, steps, eps)
        pred_eps = model(x_t, schedule.timesteps[steps])
        eps_mse.append(((eps.double() - pred_eps.double()) ** 2).mean(dim=(1, 2, 3)))
        # In float64: the difference of two means is squared and divided by a variance that is as small as 5e-5.
        clean, noisy = x_start.double(), x_t.double()
        posterior = q_posterior(schedule, clean, noisy, steps)
        mean = p_mean_variance(schedule, pred_eps.double(), noisy, steps, clip_x_start=clip_x_start).mean
        for column, table in zip(columns, log_variances, strict=True):
            log_variance = at(table, steps, like=clean)
            if t == 0:
                nats = -discretized_gaussian_log_likelihood(clean, mean, 0.5 * log_variance, cdf=cdf)
            else:
                nats = normal_kl(posterior.mean, posterior.log_variance, mean, log_variance)
            column.append(to_bits_per_dim(nats))
    prior = prior_bits_per_dim(schedule, x_start)
    return [_collect(prior, torch.stack(column, dim=1), torch.stack(eps_mse, dim=1)) for column in columns]


def _collect(
    prior: Float64[Tensor, " b"], terms: Float64[Tensor, "b T"], eps_mse: Float64[Tensor, "b T"]
) -> BitsPerDim:
    return BitsPerDim(
        prior_bpd=prior,
        step_bpd=terms[:, 1:],
        decoder_bpd=terms[:, 0],
        total_bpd=prior + terms.sum(dim=1),
        eps_mse=eps_mse,
    )


def bits_per_dim(
    model: Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"]], Float[Tensor, "b c h w"]],
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    variance: Variance = Variance.FIXED_LARGE,
    clip_x_start: bool = True,
    cdf: NormalCdf = NormalCdf.EXACT,
) -> BitsPerDim:
    """The bound under one fixed variance; see `bits_per_dim_by_variance`."""
    (result,) = bits_per_dim_by_variance(
        model, schedule, x_start, noise=noise, variances=[variance], clip_x_start=clip_x_start, cdf=cdf
    )
    return result
