"""The nearest neighbours of feature vectors among blocks that come one after the other; exact, in bounded memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.metrics.distances import distance_table, pair_distances

# Pairs in memory at a time: 32 MiB of distances.
_PAIRS = 1 << 22
_COLUMNS = 4096
_NONE = torch.iinfo(torch.int64).max


class Neighbours(NamedTuple):
    """The k nearest neighbours of each query, the nearest first, equal distances by rising row number.

    Attributes:
        squared_distances: To them, in squared units of the features.
        rows: Their row numbers.
    """

    squared_distances: Float64[Tensor, "n k"]
    rows: Int64[Tensor, "n k"]


def nearest_neighbours(
    queries: Float[Tensor, "n d"],
    blocks: Iterable[Float[Tensor, "_ d"]],
    k: int,
    *,
    centre: Float[Tensor, " d"],
    own_rows: Int64[Tensor, " n"] | None = None,
) -> Neighbours:
    """Return the k nearest rows of each query by Euclidean distance.

    A table of distances by matrix products proposes candidates. Distances that its rounding could confuse are computed
    by differences, so neither the sizes of blocks nor the centre changes the outcome, and a copy is at distance 0.

    Args:
        queries: Vectors whose neighbours are wanted; they are in memory as a whole.
        blocks: Vectors to search, numbered from 0 as they come; one block is in memory at a time.
        k: Number of neighbours, at least 1.
        centre: A vector near the mean of the features.
        own_rows: The number of each query among the rows, if it is one of them: a query is no neighbour of its own.
            A copy of it in another row is one.

    Raises:
        ValueError: If k is below 1, or there are fewer than k rows to choose from.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}")
    best = Neighbours(
        torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=queries.device),
        torch.full((len(queries), k), _NONE, device=queries.device),
    )
    start = 0
    for block in blocks:
        for part in _parts(block, 4 * k if start == 0 else _COLUMNS):
            best = _nearer(best, queries, part, start, centre, own_rows)
            start += len(part)
    rows = start - (own_rows is not None)
    if rows < k:
        raise ValueError(f"{k} neighbours need at least {k} other rows; got {max(rows, 0)}")
    return best


def _parts(block: Float[Tensor, "m d"], first: int) -> Iterator[Float[Tensor, "_ d"]]:
    """Pieces of a block. The very first is small: it soon gives a bound, which spares later work if many are equal."""
    for piece in (block[:first], *block[first:].split(_COLUMNS)):
        if len(piece):
            yield piece


def _nearer(
    best: Neighbours,
    queries: Float[Tensor, "n d"],
    part: Float[Tensor, "m d"],
    start: int,
    centre: Float[Tensor, " d"],
    own_rows: Int64[Tensor, " n"] | None,
) -> Neighbours:
    """The nearest of those known and of one part, whose rows are numbered from `start`."""
    size = max(1, _PAIRS // len(part))
    distances, rows = [], []
    for first in range(0, len(queries), size):
        tile = slice(first, first + size)
        table, slack = distance_table(queries[tile], part, centre)
        if own_rows is not None:
            own = own_rows[tile] - start
            mine = torch.nonzero((own >= 0) & (own < len(part)))[:, 0]
            table[mine, own[mine]] = torch.inf
        known = Neighbours(best.squared_distances[tile], best.rows[tile])
        query, column = _candidates(table, slack, known.squared_distances)
        exact = pair_distances(queries[tile], part, query, column)
        merged = _merge(known, query, exact, column + start)
        distances.append(merged.squared_distances)
        rows.append(merged.rows)
    return Neighbours(torch.cat(distances), torch.cat(rows)) if distances else best


def _candidates(
    table: Float64[Tensor, "n m"], slack: Float64[Tensor, " n"], known: Float64[Tensor, "n k"]
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " p"]]:
    """The pairs that may be among the k nearest: query and column.

    The k-th smallest true distance of a row is at most the table's plus the slack, and the table's value of a pair at
    most its true distance plus the slack. Rows come in rising order, so that one as far as the k-th known loses.
    """
    k = known.shape[1]
    limit = known[:, -1] + slack
    if table.shape[1] >= k:
        limit = torch.minimum(limit, table.kthvalue(k, dim=1).values + 2 * slack)
    limit = torch.where(known[:, -1] > 0, limit, -1.0)
    query, column = torch.nonzero((table <= limit[:, None]) & (table < torch.inf), as_tuple=True)
    return query, column


def _merge(
    known: Neighbours, query: Int64[Tensor, " p"], distance: Float64[Tensor, " p"], row: Int64[Tensor, " p"]
) -> Neighbours:
    """The k nearest of the known neighbours and of candidates, ordered by distance, then by row."""
    count, k = known.rows.shape
    queries = torch.cat((torch.arange(count, device=query.device).repeat_interleave(k), query))
    distances = torch.cat((known.squared_distances.flatten(), distance))
    rows = torch.cat((known.rows.flatten(), row))
    order = torch.argsort(rows, stable=True)
    order = order[torch.argsort(distances[order], stable=True)]
    order = order[torch.argsort(queries[order], stable=True)]
    per_query = torch.bincount(queries, minlength=count)
    firsts = torch.cumsum(per_query, 0) - per_query
    nearest = order[firsts[:, None] + torch.arange(k, device=query.device)]
    return Neighbours(distances[nearest], rows[nearest])
