"""Averages of the weights with a power-function profile, from which an average of any length can be rebuilt.

The average after t steps is the sum over k <= t of p_t[k] theta_k, with p_t[k] close to (gamma + 1) k^gamma /
t^(gamma + 1) (Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.1).
Its length is a share of training, not a number of steps: sigma_rel is the standard deviation of k / t under the
profile. Averages of two lengths, stored at several steps, span a space of profiles; `reconstruction` finds that of
another length in it (section 3.2). It takes the discrete profiles, which are exact for the steps that were averaged.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

# sigma_rel of the plain mean over all steps, gamma = 0; a longer profile would weigh early steps most.
LONGEST_SIGMA_REL = 12**-0.5
# Directions in which the profiles differ by less than this share of the most are left out. Stored averages are float32,
# and along such a direction their rounding, 2^-24, would grow 1e5-fold or more.
_SMALLEST_SINGULAR_VALUE = 1e-5
_BLOCK = 1 << 14


class PowerProfile(NamedTuple):
    """The profile of one average.

    Attributes:
        step: Steps averaged, t, at least 1.
        gamma: The exponent, at least 0.
    """

    step: int
    gamma: float


class Reconstruction(NamedTuple):
    """The combination of stored averages that comes nearest to an average of another length.

    Attributes:
        coefficients: One per stored average, x_i; they sum to 1.
        relative_error: The profile's error that remains, |sum_i x_i p_i - p| / |p|, in Euclidean norms over the steps;
            0 if the average itself is stored.
        amplification: sum_i |x_i|, at least 1: how much the rounding of stored averages grows at most.
    """

    coefficients: Float64[Tensor, " n"]
    relative_error: float
    amplification: float


def sigma_rel_of(gamma: float) -> float:
    """Return the length of a profile: sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2).

    It is the standard deviation of the density (gamma + 1) tau^gamma on 0..1 (Karras et al. 2024, appendix C).

    Raises:
        ValueError: If gamma is below 0, or not a number.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0; got {gamma:g}")
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def gamma_of(sigma_rel: float) -> float:
    """Return the exponent of a length, the inverse of `sigma_rel_of`.

    With a = gamma + 1 and s = sigma_rel^-2 the length's formula is a cubic, a^3 + 4 a^2 + (5 - s) a + 2 = 0. It has
    three real roots in the range below, and Viete's cosine gives the largest to float64 precision.

    Args:
        sigma_rel: In (0, 12^(-1/2)], about 0.289; 0.05 means gamma = 16.97 and 0.1 means 6.94.

    Raises:
        ValueError: If sigma_rel is out of range.
    """
    if not 0 < sigma_rel <= LONGEST_SIGMA_REL:
        raise ValueError(f"sigma_rel must be above 0 and at most {LONGEST_SIGMA_REL:.4g}; got {sigma_rel:g}")
    # With x = a + 4/3: x^3 - 3 m^2 x + q = 0.
    s = sigma_rel**-2
    m, q = math.sqrt((s + 1 / 3) / 3), 2 / 27 + 4 * s / 3
    root = 2 * m * math.cos(math.acos(-q / (2 * m**3)) / 3)
    return max(root - 7 / 3, 0.0)


def step_decay(step: int, gamma: float) -> float:
    """Return beta in `average = beta * average + (1 - beta) * weights` for one step: (1 - 1/k)^(gamma + 1).

    Args:
        step: The number k of the step, from 1; the first one copies the weights that it leaves.
        gamma: The exponent, at least 0.

    Raises:
        ValueError: If there is no such step.
    """
    if step < 1:
        raise ValueError(f"steps count from 1; got {step}")
    return (1 - 1 / step) ** (gamma + 1)


def profile_weights(profile: PowerProfile, first: int, last: int) -> Float64[Tensor, " steps"]:
    """Return the weights p_t[k] of the steps k = first..last in an average: (k^(g+1) - (k-1)^(g+1)) / t^(g+1).

    This is the recursion by `step_decay` written out: the decays after step k telescope to (k / t)^(g + 1), and the
    share of step k itself is 1 - (1 - 1/k)^(g + 1). The weights of 1..t therefore sum to 1. Steps after t weigh 0.

    Args:
        profile: The average.
        first: The first step, at least 1.
        last: The last step, at least `first`.
    """
    k, power = torch.arange(first, last + 1, dtype=torch.float64), profile.gamma + 1
    share = -torch.expm1(power * torch.log1p(-1 / k))
    kept = torch.exp(power * torch.log(k / profile.step))
    return torch.where(k <= profile.step, share * kept, 0.0)


def reconstruction(stored: Sequence[PowerProfile], target: PowerProfile) -> Reconstruction:
    """Return the coefficients that rebuild one average from others, by least squares over the discrete profiles.

    They minimise sum_k (sum_i x_i p_i[k] - p[k])^2 under sum_i x_i = 1. Karras et al. solve for the continuous profiles
    without the constraint. The discrete ones are what was averaged, also in the first steps and in a short run. Under
    the constraint weights that do not move are rebuilt exactly, and for any centre c Cauchy-Schwarz bounds the error:
    |rebuilt - average| <= relative_error * |p| * (sum_k |theta_k - c|^2)^(1/2).

    The profiles' differences from the last one are reduced by QR in blocks of steps, all in float64, then solved by a
    singular value decomposition. Normal equations would square the condition number. Directions below 1e-5 of the
    largest singular value are left out, because rounding of the stored averages would drown them.

    Args:
        stored: The averages at hand, at least one, none past the target's step.
        target: The average to rebuild.

    Raises:
        ValueError: If there is no stored average, or one holds later weights than the target.
    """
    if not stored:
        raise ValueError("there is no average to rebuild from")
    if max(profile.step for profile in stored) > target.step:
        raise ValueError(f"an average past step {target.step} holds later weights than the one to rebuild")
    if target in stored:
        coefficients = torch.zeros(len(stored), dtype=torch.float64)
        coefficients[list(stored).index(target)] = 1
        return Reconstruction(coefficients, 0.0, 1.0)
    # Columns: p_i - p_n for i < n, p - p_n, and p for its norm.
    reduced = torch.zeros(0, len(stored) + 1, dtype=torch.float64)
    for first in range(1, target.step + 1, _BLOCK):
        last = min(first + _BLOCK - 1, target.step)
        rows = torch.stack([profile_weights(profile, first, last) for profile in (*stored, target)], dim=1)
        base = rows[:, -2:-1]
        columns = torch.cat((rows[:, :-2] - base, rows[:, -1:] - base, rows[:, -1:]), dim=1)
        reduced = torch.linalg.qr(torch.cat((reduced, columns)), mode="r").R
    differences, wanted, norm = reduced[:, :-2], reduced[:, -2], torch.linalg.vector_norm(reduced[:, -1])
    others = _least_squares(differences, wanted)
    coefficients = torch.cat((others, 1 - others.sum(0, keepdim=True)))
    error = torch.linalg.vector_norm(differences @ others - wanted) / norm
    return Reconstruction(coefficients, float(error), float(coefficients.abs().sum()))


def _least_squares(columns: Float64[Tensor, "rows n"], wanted: Float64[Tensor, " rows"]) -> Float64[Tensor, " n"]:
    u, s, vh = torch.linalg.svd(columns, full_matrices=False)
    kept = s > _SMALLEST_SINGULAR_VALUE * s[:1]
    return vh[kept].mT @ ((u[:, kept].mT @ wanted) / s[kept])
