"""The kernel distance (KID on Inception features), Bińkowski et al. 2018, without bias, from blocks.

It is the squared maximum mean discrepancy (Gretton et al. 2012, lemma 6) with the kernel k(x, y) = (x.y / d + 1)^3.
Its expectation is the same for every block size; by chance it falls below 0 if both sides have nearly one distribution.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float, Float64
from torch import Tensor

from ddpm_core.metrics.estimate import Estimate, mean_of

_LARGEST_BLOCK, _BLOCKS = 1000, 10


def block_size(count: int) -> int:
    """Return the rows per block, min(1000, count // 10) and at least 2: ten blocks or more from 20 rows on.

    Published figures take 100 subsets of 1,000 rows, drawn anew each time; ours are disjoint, so that they are
    independent and their spread gives an error.

    Args:
        count: Number of rows of the smaller side, at least 2.

    Raises:
        ValueError: If there are fewer than 2 rows.
    """
    if count < 2:
        raise ValueError(f"a kernel distance needs at least 2 feature vectors on each side; got {count}")
    return max(2, min(_LARGEST_BLOCK, count // _BLOCKS))


def polynomial_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    """Return (x.y / d + 1)^3 of every pair, in float64."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def squared_mmd(x: Float[Tensor, "n d"], y: Float[Tensor, "m e"]) -> float:
    """Return the unbiased estimate of MMD^2 between two blocks of features.

    sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_{i, j} k(x_i, y_j) / (n m)

    Args:
        x: Feature vectors of one side, at least 2.
        y: Feature vectors of the other, at least 2; both sides may differ in number.

    Raises:
        ValueError: If the dimensions differ, a side has fewer than 2 vectors, or a value is not finite.
    """
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features must have the same dimension; got {x.shape[1]} and {y.shape[1]}")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 feature vectors on each side; got {len(x)} and {len(y)}")
    # Three terms of size 1 and above cancel to 1e-3 and below: the centre cannot be moved, so float64 has to bear it.
    found = float(_mean_of_pairs(x) + _mean_of_pairs(y) - 2 * polynomial_kernel(x, y).mean())
    if not math.isfinite(found):
        raise ValueError("features must be finite; their kernels are not")
    return found


def kernel_distance(of_blocks: Sequence[float]) -> Estimate:
    """Return the mean over pairs of disjoint random blocks, and its standard error over these pairs.

    Published codes print the standard deviation over their subsets instead: it neither shrinks with more subsets nor
    says how far the mean may be from the truth.

    Args:
        of_blocks: `squared_mmd` of each pair of blocks; `ddpm_core.metrics.blocks` says which rows form a block.

    Raises:
        ValueError: If there is no pair.
    """
    return mean_of(of_blocks)


def _mean_of_pairs(x: Float[Tensor, "n d"]) -> Float64[Tensor, ""]:
    """The mean of k(x_i, x_j) over i != j."""
    kernel = polynomial_kernel(x, x)
    return (kernel.sum() - kernel.diagonal().sum()) / (len(x) * (len(x) - 1))
