"""The share of samples that lie suspiciously near one training image, judged by images that no network has seen.

Carlini et al. 2023, "Extracting Training Data from Diffusion Models", divide the distance to the nearest training image
by the mean distance to the n nearest, and count a sample as a copy if the ratio is below 1/2 (n = 50, pixels). Yoon et
al. 2023 divide by the second distance and take 1/3. Both limits are for pixels, and no limit holds for every space of
features. So we take the limit from held-out images, as Meehan et al. 2020 compare distances to the training images:
it is the ratio of the held-out images that are nearest in this sense. A plain distance would also count
smooth samples, which lie near all training images; they change the ratio little.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ddpm_core.metrics.estimate import Estimate, share_of
from ddpm_core.metrics.neighbours import Neighbours

# One in so many held-out images lies at or below the limit, if there are enough of them.
ONE_IN = 100


class Memorisation(NamedTuple):
    """The share of memorised samples, and how it was judged.

    Attributes:
        share: Of samples at or below the limit, in [0, 1], and its standard error.
        expected: The expected share if samples are independent draws from the distribution of held-out images.
        limit: The ratio at or below which a sample counts.
    """

    share: Estimate
    expected: float
    limit: float


def nearest_ratios(to_training: Neighbours) -> Float64[Tensor, " n"]:
    """Return the distance d_1 to the nearest training image over the mean of the distances d_1..d_k, in [0, 1].

    It is 0 for an exact copy, also if the training image occurs k times. A near copy of an image that occurs k times
    has a ratio near 1, so it is missed: drop duplicates first.

    Args:
        to_training: The k nearest training images of each image, k at least 2.

    Raises:
        ValueError: If k is below 2, since every ratio would be 1.
    """
    distances = to_training.squared_distances.sqrt()
    if distances.shape[1] < 2:
        raise ValueError(f"a ratio needs at least 2 neighbours; got {distances.shape[1]}")
    return torch.where(distances[:, 0] > 0, distances[:, 0] / distances.mean(1), 0.0)


def memorised_share(
    samples: Float64[Tensor, " n"], held_out: Float64[Tensor, " m"], one_in: int = ONE_IN
) -> Memorisation:
    """Return the share of samples whose ratio is at most the r-th smallest of the held-out images.

    r is (m + 1) / one_in, rounded down, and at least 1. Without ties the number of such samples
    among n independent draws from the distribution of held-out images is beta-binomial with parameters r and m + 1 - r,
    whatever the distribution is; so r / (m + 1) is the expected share. If held-out images tie at the limit, r counts
    all of them. The squared standard error is p (1 - p) / n + q (1 - q) / m for the share p and the expected share q:
    the second term stands for the limit, which other held-out images would shift.

    Args:
        samples: `nearest_ratios` of the samples.
        held_out: The same of the held-out images, in the same training images.
        one_in: The inverse of the share to expect, at least 1.

    Raises:
        ValueError: If there is no sample or no held-out image.
    """
    if not len(held_out):
        raise ValueError("the limit needs at least 1 held-out image; got 0")
    rank = max((len(held_out) + 1) // one_in, 1)
    limit = held_out.kthvalue(rank).values
    expected = int((held_out <= limit).sum()) / (len(held_out) + 1)
    share = share_of(samples <= limit)
    assert share.standard_error is not None, "a share has an error"
    variance = share.standard_error**2 + expected * (1 - expected) / len(held_out)
    found = Estimate(share.value, variance**0.5, min(len(samples), len(held_out)))
    return Memorisation(found, expected, float(limit))
