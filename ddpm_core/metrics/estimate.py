"""A figure with its standard error: the mean of independent values, or the share of independent hits."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Estimate(NamedTuple):
    """A figure and its standard error.

    Attributes:
        value: The figure.
        standard_error: Its standard error; None if one value alone is known.
        terms: The number of independent terms that the standard error rests on; None without one. For an interval take
            Student's t with one degree of freedom less.
    """

    value: float
    standard_error: float | None
    terms: int | None = None


def mean_of(values: Float[Tensor, " n"] | Sequence[float]) -> Estimate:
    """Return the mean of independent values and its standard error s / sqrt(n), s^2 their unbiased variance.

    Raises:
        ValueError: If there is no value.
    """
    wide = torch.as_tensor(values, dtype=torch.float64)
    if not len(wide):
        raise ValueError("a mean needs at least 1 value; got 0")
    error = float(wide.std()) / len(wide) ** 0.5 if len(wide) > 1 else None
    return Estimate(float(wide.mean()), error, len(wide) if len(wide) > 1 else None)


def share_of(hits: Bool[Tensor, " n"]) -> Estimate:
    """Return the share p of hits, in [0, 1], and its binomial standard error sqrt(p (1 - p) / n).

    The error is 0 if all or none are hits, although more draws could differ.

    Raises:
        ValueError: If there is no draw.
    """
    if not len(hits):
        raise ValueError("a share needs at least 1 draw; got 0")
    share = float(hits.double().mean())
    return Estimate(share, (share * (1 - share) / len(hits)) ** 0.5, len(hits))
