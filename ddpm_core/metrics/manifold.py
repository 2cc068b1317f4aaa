"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

Both pairs take the balls around feature vectors, each as wide as the distance to its k-th nearest neighbour of the same
collection, for a picture of where that collection lies.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.metrics.distances import distance_table, pair_distances
from ddpm_core.metrics.estimate import Estimate, mean_of, share_of

PRECISION_K, DENSITY_K = 3, 5
_PAIRS = 1 << 22
_COLUMNS = 4096


class Balls(NamedTuple):
    """Balls around the vectors of one block, with r radii each.

    Attributes:
        centres: The vectors.
        squared_radii: For instance the squared distances to their third and to their fifth neighbour.
    """

    centres: Float[Tensor, "m d"]
    squared_radii: Float64[Tensor, "m r"]


def balls_around(
    queries: Float[Tensor, "n d"], blocks: Iterable[Balls], *, closed: Sequence[bool], centre: Float[Tensor, " d"]
) -> Int64[Tensor, "n r"]:
    """Return the number of balls that contain each query, for each of the r radii.

    A distance within rounding of a radius is computed by its difference, as the radius was: a query that is a copy of
    the neighbour on the surface is on the surface.

    Args:
        queries: Vectors, in memory as a whole.
        blocks: Balls, one block in memory at a time.
        closed: For each radius, whether its surface belongs to the ball.
        centre: A vector near the mean of the features.
    """
    counts = torch.zeros(len(queries), len(closed), dtype=torch.int64, device=queries.device)
    for block in blocks:
        for first in range(0, len(block.centres), _COLUMNS):
            part = Balls(*(values[first : first + _COLUMNS] for values in block))
            size = max(1, _PAIRS // len(part.centres))
            for start in range(0, len(queries), size):
                counts[start : start + size] += _inside(queries[start : start + size], part, closed, centre)
    return counts


def _inside(
    queries: Float[Tensor, "n d"], balls: Balls, closed: Sequence[bool], centre: Float[Tensor, " d"]
) -> Int64[Tensor, "n r"]:
    table, slack = distance_table(queries, balls.centres, centre)
    counts = []
    for radius, with_surface in zip(balls.squared_radii.unbind(1), closed, strict=True):
        inside = table < radius
        query, ball = torch.nonzero((table - radius).abs_() <= slack[:, None], as_tuple=True)
        exact = pair_distances(queries, balls.centres, query, ball)
        inside[query, ball] = exact <= radius[ball] if with_surface else exact < radius[ball]
        counts.append(inside.sum(1))
    return torch.stack(counts, dim=1)


def precision(balls: Int64[Tensor, " n"]) -> Estimate:
    """Return the share of samples that lie in at least one ball around a training image, in [0, 1].

    Recall is the same with the sides exchanged: the share of training images in at least one ball around a sample.

    Args:
        balls: For each query, the number of closed balls of the other side that contain it, radii from k = 3
            (equation 1: a distance at most the radius).
    """
    return share_of(balls > 0)


def density(balls: Int64[Tensor, " n"], k: int = DENSITY_K) -> Estimate:
    """Return the mean number of balls around training images that contain a sample, over k; from 0, may exceed 1.

    Its expectation is 1 if both sides have the same distribution. The error is that over samples, the balls fixed.

    Args:
        balls: For each sample, the number of open balls that contain it (the authors' code leaves the surface out).
        k: The neighbour that gave the radii.
    """
    return mean_of(balls.double() / k)


def coverage(nearest: Float64[Tensor, " m"], squared_radii: Float64[Tensor, " m"]) -> Estimate:
    """Return the share of training images with a sample inside their open ball, in [0, 1].

    Its expectation for n samples and m training images from one distribution is given by `expected_coverage`.

    Args:
        nearest: The squared distance of each training image to the nearest sample.
        squared_radii: Of its ball, from k = 5.
    """
    return share_of(nearest < squared_radii)


def expected_coverage(samples: int, training_images: int, k: int = DENSITY_K) -> float:
    """Return the expected coverage if both sides have one continuous distribution (Naeem et al. 2020).

    A training image is not covered if the k nearest of all other images are training images:
    1 - prod_{i < k} (m - 1 - i) / (m + n - 1 - i), with m training images and n samples.
    """
    missed = 1.0
    for i in range(k):
        missed *= (training_images - 1 - i) / (training_images + samples - 1 - i)
    return 1 - missed
