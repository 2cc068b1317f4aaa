"""Squared Euclidean distances between feature vectors in float64: a table by one matrix product, or pair by pair.

|x|^2 + |y|^2 - 2 x.y loses digits where x and y are close: a copy is not at distance 0. The table therefore comes with
a bound on its error, and whoever compares distances that lie within it computes these pairs by their differences. Both
ways use the vectors as they are, so a result does not depend on the centre; a centre near their mean keeps the bound
small.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
# Elements of a difference that are in memory at a time: 32 MiB.
_ELEMENTS = 1 << 22


def distance_table(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], centre: Float[Tensor, " d"]
) -> tuple[Float64[Tensor, "n m"], Float64[Tensor, " n"]]:
    """Return |x_i - y_j|^2 of every pair, at least 0, and for each i a bound on the error of its row.

    Args:
        x: Vectors.
        y: Vectors.
        centre: A vector near the mean of both, which is subtracted first.
    """
    a, b = x.double() - centre.double(), y.double() - centre.double()
    squares_a, squares_b = (a * a).sum(1), (b * b).sum(1)
    table = torch.addmm(squares_a[:, None] + squares_b, a, b.T, alpha=-2).clamp_(min=0)
    # A sum of d products is off by at most d eps times the sum of their sizes, whatever its order; |x.y| and the two
    # squares make 2 (|x|^2 + |y|^2), and the rounding of the centred vectors a few more.
    largest = squares_b.max() if len(y) else squares_b.sum()
    return table, 2 * (x.shape[1] + 8) * _EPS * (squares_a + largest)


def pair_distances(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], rows: Int64[Tensor, " p"], columns: Int64[Tensor, " p"]
) -> Float64[Tensor, " p"]:
    """Return |x_i - y_j|^2 of some pairs, each by its difference: correct to rounding, 0 for a copy, symmetric.

    Args:
        x: Vectors.
        y: Vectors.
        rows: The number i of each pair.
        columns: The number j of each pair.
    """
    size = max(1, _ELEMENTS // max(1, x.shape[1]))
    found = torch.empty(len(rows), dtype=torch.float64, device=x.device)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        found[part] = (x[rows[part]].double() - y[columns[part]].double()).square_().sum(1)
    return found
