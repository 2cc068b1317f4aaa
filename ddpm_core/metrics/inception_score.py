"""The Inception score, Salimans et al. 2016, section 4, from sums of class probabilities in float64."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

SPLITS = 10
_SMALLEST_LOG = -1000.0


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassStats:
    """Sums over the class probabilities p(y | x) of images; statistics of disjoint parts add up.

    Attributes:
        count: Number of images.
        total: The sum of p over images, by class.
        negative_entropy: The sum over images of sum_y p log p, in nats.
    """

    count: int
    total: Float64[Tensor, " c"]
    negative_entropy: Float64[Tensor, ""]

    @classmethod
    def empty(cls, classes: int, device: torch.device | None = None) -> "ClassStats":
        """Return the statistics of zero images, on the device of the logits that will be added."""
        zeros = torch.zeros(classes, dtype=torch.float64, device=device)
        return cls(count=0, total=zeros, negative_entropy=zeros.sum())

    def update(self, logits: Float[Tensor, "n c"]) -> "ClassStats":
        """Return the statistics with these images added.

        Args:
            logits: Unnormalised log-probabilities. The softmax is taken here, in float64, so that a class whose
                probability rounds to 0 costs no digits.
        """
        log_p = logits.double().log_softmax(1)
        p = log_p.exp()
        # Below e^-745 p is 0 in float64 and so is p log p, which 0 times minus infinity would not be.
        return ClassStats(
            count=self.count + len(p),
            total=self.total + p.sum(0),
            negative_entropy=self.negative_entropy + (p * log_p.clamp(min=_SMALLEST_LOG)).sum(),
        )

    def merge(self, other: "ClassStats") -> "ClassStats":
        """Return the statistics of both parts together."""
        return ClassStats(
            count=self.count + other.count,
            total=self.total + other.total,
            negative_entropy=self.negative_entropy + other.negative_entropy,
        )


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """The Inception score over splits, as it is published.

    Attributes:
        mean: Of the splits' scores.
        std: Their standard deviation, divided by the number of splits and not by one less, as the original code does.
        standard_error: Of the mean, std / sqrt(splits - 1); None with one split.
    """

    mean: float
    std: float
    standard_error: float | None


def inception_score(stats: ClassStats) -> float:
    """Return exp(E_x KL(p(y | x) || p(y))), from 1 (all images alike, or no class certain) to the number of classes.

    The mean KL is the mean of sum_y p log p less sum_y q log q, with q the mean of p. It grows with the number of
    images, since q is estimated from the same images.

    Raises:
        ValueError: If there is no image, or a logit was not finite.
    """
    if not stats.count:
        raise ValueError("an Inception score needs at least 1 image; got 0")
    marginal = stats.total / stats.count
    information = float(stats.negative_entropy / stats.count - torch.xlogy(marginal, marginal).sum())
    if math.isnan(information):
        raise ValueError("class scores must be finite; their sums are not")
    return math.exp(max(information, 0.0))


def split_bounds(count: int, splits: int = SPLITS) -> list[tuple[int, int]]:
    """Return the first row and the row after the last of each split, i n // splits to (i + 1) n // splits.

    The original code takes the rows as they come. Some later ones shuffle them first or drop the remainder.

    Args:
        count: Number of images n, at least `splits`.
        splits: Number of splits.

    Raises:
        ValueError: If a split would be empty.
    """
    if not 1 <= splits <= count:
        raise ValueError(f"{splits} splits need at least {splits} images; got {count}")
    return [(i * count // splits, (i + 1) * count // splits) for i in range(splits)]


def score_over_splits(stats: Sequence[ClassStats]) -> SplitScores:
    """Return the mean and spread of the scores of splits.

    Args:
        stats: Of each split, as `split_bounds` cuts them.
    """
    scores = torch.tensor([inception_score(part) for part in stats], dtype=torch.float64)
    std = float(scores.std(correction=0))
    error = std / (len(scores) - 1) ** 0.5 if len(scores) > 1 else None
    return SplitScores(mean=float(scores.mean()), std=std, standard_error=error)
