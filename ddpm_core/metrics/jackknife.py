"""The jackknife over groups of images, and the value of a figure at infinitely many images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

GROUPS = 20


@dataclass(frozen=True, kw_only=True)
class Jackknife:
    """A figure with its error and without its bias.

    Attributes:
        value: The figure of all images.
        corrected: The figure less its bias of order 1/N.
        standard_error: Of both. It is the spread over draws of the grouped images; anything else is held fixed.
    """

    value: float
    corrected: float
    standard_error: float


def jackknife(value: float, left_out: Sequence[float], sizes: Sequence[int]) -> Jackknife:
    """Return a figure's standard error and its value without bias, from its values with one group of images left out.

    With N images in g groups of m_j, h_j = N / m_j and t_j the figure without group j (Busing, Meijer and van der
    Leeden 1999; with equal groups the jackknife of Quenouille and Tukey, Efron and Tibshirani 1993, chapter 11):

        corrected = g value - sum_j (1 - m_j / N) t_j
        standard_error^2 = (1/g) sum_j (h_j value - (h_j - 1) t_j - corrected)^2 / (h_j - 1)

    With equal groups, `corrected` is the value at 0 of the line in 1/N through (1/N, value) and the mean of t_j at its
    own number of images: FD-infinity of Chong and Forsyth 2020 on the shortest range, where curvature in 1/N costs
    least. A bootstrap would not do: drawing with replacement lowers the rank of a covariance and moves the distance.
    Groups must be random (`ddpm_core.metrics.blocks`). For an interval take Student's t with g - 1 degrees of freedom.

    Args:
        value: The figure of all images.
        left_out: The figure without each group, at least 2.
        sizes: Images in each group, at least 1.

    Raises:
        ValueError: If there are fewer than 2 groups, or the two lists differ in length.
    """
    if len(left_out) < 2 or len(left_out) != len(sizes):
        raise ValueError(f"a jackknife needs at least 2 groups with their sizes; got {len(left_out)} and {len(sizes)}")
    groups = len(left_out)
    without = torch.tensor(left_out, dtype=torch.float64)
    share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    corrected = groups * value - float(((1 - share) * without).sum())
    pseudo = (value - (1 - share) * without) / share
    variance = float(((pseudo - corrected) ** 2 * share / (1 - share)).mean())
    return Jackknife(value=value, corrected=corrected, standard_error=variance**0.5)


def value_at_infinity(counts: Sequence[int], values: Sequence[float]) -> float:
    """Return the value at 1/N = 0 of the least-squares line through a figure at several N (Chong and Forsyth 2020).

    Args:
        counts: Numbers of images N, at least two different ones.
        values: The figure at each.

    Raises:
        ValueError: If there are fewer than two different N.
    """
    if len(set(counts)) < 2 or len(counts) != len(values):
        raise ValueError(f"a line needs values at two or more numbers of images; got {len(set(counts))}")
    inverse = 1 / torch.tensor(counts, dtype=torch.float64)
    at = torch.tensor(values, dtype=torch.float64)
    centred = inverse - inverse.mean()
    slope = (centred * (at - at.mean())).sum() / (centred * centred).sum()
    return float(at.mean() - slope * inverse.mean())
