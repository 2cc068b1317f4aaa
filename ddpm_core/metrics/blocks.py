"""Random disjoint blocks of rows, the same for every worker: a permutation drawn by Philox, cut into pieces.

Contiguous rows would be wrong. Images often come ordered by class or by seed, and a block of one class is no small
version of the whole: a kernel distance between such blocks measures the order, and groups of them overstate an error.
"""

from jaxtyping import Int64
from torch import Tensor

from ddpm_core.rng import Stream, permutation


def random_rows(seed: int, count: int, side: int) -> Int64[Tensor, " n"]:
    """Return the row numbers 0..count-1 in random order; its beginning is a random subset of any size.

    Args:
        seed: Of the evaluation, 0..2^64-1.
        count: Number of rows, at least 1.
        side: Which collection the rows belong to, 0 and up. Two sides of one length have different orders, so that
            collections with the same order of classes are not paired class by class.
    """
    return permutation(seed, count, side, stream=Stream.FEATURE_ORDER)


def random_blocks(seed: int, count: int, side: int, size: int) -> tuple[Int64[Tensor, " m"], ...]:
    """Return the row numbers of disjoint random blocks of one size; rows left over belong to none.

    Args:
        seed: Of the evaluation, 0..2^64-1.
        count: Number of rows.
        side: As of `random_rows`.
        size: Rows per block, 1..count.

    Raises:
        ValueError: If no block fits.
    """
    if not 1 <= size <= count:
        raise ValueError(f"size must lie in 1..{count}; got {size}")
    whole = count // size
    return random_rows(seed, count, side)[: whole * size].split(size)


def random_groups(seed: int, count: int, side: int, groups: int) -> tuple[Int64[Tensor, " _"], ...]:
    """Return the row numbers of random groups that together hold every row; their sizes differ by at most 1.

    Args:
        seed: Of the evaluation, 0..2^64-1.
        count: Number of rows.
        side: As of `random_rows`.
        groups: Number of groups, 1..count.

    Raises:
        ValueError: If a group would be empty.
    """
    if not 1 <= groups <= count:
        raise ValueError(f"groups must lie in 1..{count}; got {groups}")
    return random_rows(seed, count, side).tensor_split(groups)
