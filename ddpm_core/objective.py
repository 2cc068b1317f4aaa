"""Training losses: L_simple, terms of the bound, and weightings in between."""

from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from ddpm_core.choices import Loss, Parameterisation, Variance
from ddpm_core.diffusion import q_sample
from ddpm_core.likelihood.bound import decoder_bits_per_dim, step_bits_per_dim
from ddpm_core.prediction import target
from ddpm_core.reverse import p_mean_variance, reverse_log_variance, split_output
from ddpm_core.schedule import NoiseSchedule, at


def simple_loss(expected: Float[Tensor, "b c h w"], predicted: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """L_simple of each image, eq. (14): the mean over c, h, w of (eps - eps_theta)^2, in float32 or better.

    With another parameterisation it is the same error of its target.
    """
    wide = torch.promote_types(predicted.dtype, torch.float32)
    return ((expected.to(wide) - predicted.to(wide)) ** 2).mean(dim=(1, 2, 3))


def bound_loss(
    schedule: NoiseSchedule,
    model_output: Float[Tensor, "b c_out h w"],
    x_start: Float[Tensor, "b c h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    *,
    variance: Variance,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = False,
) -> Float[Tensor, " b"]:
    """The term of the bound of each image at its t: L_{t-1}, or the decoder's L_0 at t = 0, in bits/dim.

    T times its mean over t uniform on 0..T-1 is the bound without L_T. It is computed in float32 or better. Clipping is
    off in training, because a clipped prediction has no gradient.
    """
    wide = torch.promote_types(model_output.dtype, torch.float32)
    x_start, x_t = x_start.to(wide), x_t.to(wide)
    reverse = p_mean_variance(
        schedule,
        model_output.to(wide),
        x_t,
        t,
        variance=variance,
        parameterisation=parameterisation,
        clip_x_start=clip_x_start,
    )
    decoder = decoder_bits_per_dim(x_start, reverse)
    return torch.where(t == 0, decoder, step_bits_per_dim(schedule, x_start, x_t, t, reverse))


def hybrid_loss(
    schedule: NoiseSchedule,
    model_output: Float[Tensor, "b c_out h w"],
    x_start: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    *,
    variance: Variance,
    parameterisation: Parameterisation = Parameterisation.EPS,
    bound_share: float = 1e-3,
) -> Float[Tensor, " b"]:
    """L_hybrid = L_simple + bound_share T L_t of each image (Nichol and Dhariwal 2021, eq. (16)), to learn a variance.

    The bound's gradient reaches only the variance, because the prediction is detached for it.

    Raises:
        ValueError: If the variance is fixed.
    """
    x_t = q_sample(schedule, x_start, t, noise)
    prediction, about_variance = split_output(model_output, x_start.shape[1], variance)
    if about_variance is None:
        raise ValueError(f"the hybrid loss is for learned variances; got {variance.value}")
    output = torch.cat((prediction.detach(), about_variance), dim=1)
    bound = bound_loss(schedule, output, x_start, x_t, t, variance=variance, parameterisation=parameterisation)
    simple = simple_loss(target(schedule, x_start, noise, t, parameterisation), prediction)
    return simple + bound_share * schedule.num_timesteps * bound


def bound_weight(schedule: NoiseSchedule, variance: Variance) -> Float64[Tensor, " T"]:
    """beta^2 / (2 sigma^2 alpha (1 - alpha-bar)) for every t: eq. (12)'s weight of ||eps - eps_theta||^2.

    For t >= 1 and unclipped predictions, this weight times the squared error summed over c, h, w is L_{t-1} in nats, up
    to a constant that does not depend on the network. L_simple is eq. (12) without this weight.

    Raises:
        ValueError: If alpha-bar_T is 0, because eps then does not determine the mean, or if the variance is learned.
    """
    if schedule.zero_terminal_snr:
        raise ValueError("the weight of an error of eps is infinite if alpha-bar_T is 0")
    squared = reverse_log_variance(schedule, variance).exp()
    return schedule.betas**2 / (2 * squared * schedule.alphas * (1 - schedule.alphas_cumprod))


def score_matching_loss(
    schedule: NoiseSchedule,
    pred_score: Float[Tensor, "b c h w"],
    x_start: Float[Tensor, "b c h w"],
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Denoising score matching (Vincent 2011): mean over c, h, w of (score - grad log q(x_t | x_0))^2 of each image.

    The gradient is (sqrt(alpha-bar) x_0 - x_t) / (1 - alpha-bar). For the score that corresponds to eps_theta
    (`prediction.score`), the loss is L_simple / (1 - alpha-bar_t).
    """
    variance = at(1 - schedule.alphas_cumprod, t, like=x_t)
    conditional = (at(schedule.alphas_cumprod.sqrt(), t, like=x_t) * x_start - x_t) / variance
    return simple_loss(conditional, pred_score)


def min_snr_weight(
    schedule: NoiseSchedule, t: Int64[Tensor, " b"], parameterisation: Parameterisation, gamma: float = 5.0
) -> Float32[Tensor, " b"]:
    """Min-SNR-gamma weight of each image's squared error (Hang et al. 2023): min(SNR, gamma) in terms of x_0.

    Relative to an error of x_0, an error of eps is weighted by 1 / SNR and an error of v by 1 / (SNR + 1), with
    SNR = alpha-bar / (1 - alpha-bar).

    Raises:
        ValueError: If gamma is not above 0, or x_{t-1} is predicted, which has another scale.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0; got {gamma}")
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    match parameterisation:
        case Parameterisation.EPS:
            weight = (gamma / snr).clamp(max=1)
        case Parameterisation.X_START:
            weight = snr.clamp(max=gamma)
        case Parameterisation.V:
            weight = snr.clamp(max=gamma) / (snr + 1)
        case Parameterisation.X_PREV:
            raise ValueError("min-SNR weights errors of eps, x_start or v; got x_prev")
        case unknown:
            assert_never(unknown)
    return weight[t].to(torch.float32)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The predicted quantity and the loss to minimise.

    Attributes:
        loss: The loss.
        parameterisation: The predicted quantity.
        variance: The variance of the reverse step. A learned one needs the bound or the hybrid loss; a fixed one is
            used by the bound alone.
        min_snr_gamma: The gamma of MIN_SNR, above 0.
    """

    loss: Loss = Loss.SIMPLE
    parameterisation: Parameterisation = Parameterisation.EPS
    variance: Variance = Variance.FIXED_LARGE
    min_snr_gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.variance.is_learned and self.loss in (Loss.SIMPLE, Loss.MIN_SNR):
            raise ValueError(f"the {self.loss.value} loss leaves a {self.variance.value} variance without a gradient")
        if self.loss is Loss.HYBRID and not self.variance.is_learned:
            raise ValueError(f"the hybrid loss is for learned variances; got {self.variance.value}")

    def __call__(
        self,
        schedule: NoiseSchedule,
        model_output: Float[Tensor, "b c_out h w"],
        x_start: Float[Tensor, "b c h w"],
        noise: Float[Tensor, "b c h w"],
        t: Int64[Tensor, " b"],
    ) -> Float[Tensor, " b"]:
        """The loss of each image at x_t = q_sample(schedule, x_start, t, noise), in float32 or better."""
        variance, parameterisation = self.variance, self.parameterisation
        match self.loss:
            case Loss.BOUND:
                x_t = q_sample(schedule, x_start, t, noise)
                term = bound_loss(
                    schedule, model_output, x_start, x_t, t, variance=variance, parameterisation=parameterisation
                )
                return schedule.num_timesteps * term
            case Loss.HYBRID:
                return hybrid_loss(
                    schedule, model_output, x_start, noise, t, variance=variance, parameterisation=parameterisation
                )
            case Loss.SIMPLE:
                return simple_loss(target(schedule, x_start, noise, t, parameterisation), model_output)
            case Loss.MIN_SNR:
                loss = simple_loss(target(schedule, x_start, noise, t, parameterisation), model_output)
                return loss * min_snr_weight(schedule, t, parameterisation, self.min_snr_gamma)
            case unknown:
                assert_never(unknown)
