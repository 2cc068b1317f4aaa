"""The share of authentic samples, AuthPct, Alaa et al. 2022."""

from jaxtyping import Float64
from torch import Tensor

from ddpm_core.metrics.estimate import Estimate, share_of
from ddpm_core.metrics.neighbours import Neighbours


def authentic_percentage(to_training: Neighbours, own_nearest: Float64[Tensor, " m"]) -> Estimate:
    """Return the percentage of samples that are authentic, in [0, 100], and its binomial standard error.

    A sample is authentic if it is farther from its nearest training image than that image is from its own nearest
    neighbour among the training images. About half are if both sides have one distribution; copies make it fall.
    An image that occurs twice in the training split has a neighbour at distance 0, so that no near copy of it counts:
    drop duplicates first.

    Args:
        to_training: The nearest training image of each sample.
        own_nearest: The squared distance of each training image to its nearest other one.
    """
    share = share_of(to_training.squared_distances[:, 0] > own_nearest[to_training.rows[:, 0]])
    return Estimate(
        100 * share.value, None if share.standard_error is None else 100 * share.standard_error, share.terms
    )
