"""Closed-form facts about Gaussians, in nats."""

import math
from enum import Enum
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

# Ho's floor for a bin's probability: keeps log p finite if p underflows.
_MIN_PROBABILITY = 1e-12
_HALF_BIN = 1 / 255


class NormalCdf(Enum):
    """The form in which the standard normal's distribution function is computed."""

    EXACT = "exact"
    TANH = "tanh"


def normal_kl(
    mean_1: Float[Tensor, "*n"],
    log_variance_1: Float[Tensor, "*#n"],
    mean_2: Float[Tensor, "*#n"],
    log_variance_2: Float[Tensor, "*#n"],
) -> Float[Tensor, "*n"]:
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)) of each element, in nats."""
    return 0.5 * (
        torch.expm1(log_variance_1 - log_variance_2)
        - (log_variance_1 - log_variance_2)
        + (mean_1 - mean_2) ** 2 * torch.exp(-log_variance_2)
    )


def normal_cdf(x: Float[Tensor, "*n"], form: NormalCdf = NormalCdf.EXACT) -> Float[Tensor, "*n"]:
    """Phi(x) of the standard normal, exactly or by the tanh form of Ho's code (off by at most 2e-4).

    Both keep their relative precision on the lower tail. torch.special.ndtr does not, and neither does
    (1 + tanh(y)) / 2, hence its equal sigmoid(2 y).
    """
    match form:
        case NormalCdf.EXACT:
            return 0.5 * torch.erfc(-math.sqrt(0.5) * x)
        case NormalCdf.TANH:
            return torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        case unknown:
            assert_never(unknown)


def discretized_gaussian_log_likelihood(
    x_start: Float[Tensor, "*n"],
    mean: Float[Tensor, "*n"],
    log_std: Float[Tensor, "*#n"],
    *,
    cdf: NormalCdf = NormalCdf.EXACT,
) -> Float[Tensor, "*n"]:
    """Log probability, in nats, of each 8-bit value under a Gaussian integrated over its bin, Ho et al. eq. (13).

    The bins are 2/255 wide and centred on the 256 values x/127.5 - 1; the first reaches to -infinity and the last to
    +infinity, so that the 256 probabilities add up to 1.

    Args:
        x_start: Images on the grid x/127.5 - 1, x in 0..255.
        mean: The Gaussian's mean, same scale.
        log_std: Its log standard deviation.
        cdf: The form of Phi; published DDPM figures used `TANH`.
    """
    centred = x_start - mean
    inverse_std = torch.exp(-log_std)
    upper, lower = inverse_std * (centred + _HALF_BIN), inverse_std * (centred - _HALF_BIN)
    # Phi(b) - Phi(a) = Phi(-a) - Phi(-b): on the lower tail the difference does not cancel.
    flip = centred > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    first, last = x_start < -0.999, x_start > 0.999
    open_below, open_above = torch.where(flip, last, first), torch.where(flip, first, last)
    probability_above = torch.where(open_above, torch.ones_like(upper), normal_cdf(upper, cdf))
    probability_below = torch.where(open_below, torch.zeros_like(lower), normal_cdf(lower, cdf))
    return torch.log((probability_above - probability_below).clamp(min=_MIN_PROBABILITY))
