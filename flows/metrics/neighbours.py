"""Outputs of nearest neighbours and of balls between the sides; metrics share them, and runs share the reference's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.metrics.manifold import DENSITY_K, PRECISION_K, Balls, balls_around
from ddpm_core.metrics.neighbours import nearest_neighbours
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.metric import Subject
from flows.metrics.sides import Side
from flows.metrics.tensor_units import read_columns, tensor_work
from flows.metrics.together import Work
from infra.outputs.manifest import Manifest

STAGE = "neighbours"
BALLS_STAGE = "balls"
FORMAT_VERSION = 1
# Neighbours that are kept; also the fewest other images that a side must have.
NEIGHBOURS = max(PRECISION_K, DENSITY_K)
# Queries per unit: 64 MiB of Inception's features, for which the other side is read once.
_QUERIES = 8192
_NAMES = {Side.REFERENCE: "reference", Side.SAMPLES: "samples", Side.HELD_OUT: "held_out"}


@dataclass(frozen=True, kw_only=True)
class NearestRows:
    """The nearest rows of a side to each of some queries."""

    queries: FeatureRows
    rows: FeatureRows
    same: bool

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return `squared_distances` and `rows`, [n, k], of the queries of a unit; a query is not its own neighbour."""
        numbers = _numbers(self.queries, number)
        queries = self.queries.take(numbers).to(device)
        found = nearest_neighbours(
            queries,
            (part.to(device) for part in self.rows.parts()),
            NEIGHBOURS,
            centre=queries.double().mean(0),
            own_rows=numbers.to(device) if self.same else None,
        )
        return {"squared_distances": found.squared_distances, "rows": found.rows}


@dataclass(frozen=True, kw_only=True)
class BallCounts:
    """The number of balls around the rows of a side that contain each of some queries."""

    queries: FeatureRows
    rows: FeatureRows
    neighbours: Manifest

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return `precise` and `dense`, int64 [n]: closed balls to the third, open balls to the fifth neighbour."""
        queries = self.queries.take(_numbers(self.queries, number)).to(device)
        distances = read_columns(self.neighbours, self.rows.store)["squared_distances"]
        radii = distances[:, [PRECISION_K - 1, DENSITY_K - 1]].split(self.rows.sizes)
        blocks = (
            Balls(part.to(device), squared.to(device)) for part, squared in zip(self.rows.parts(), radii, strict=True)
        )
        precise, dense = balls_around(queries, blocks, closed=[True, False], centre=queries.double().mean(0)).unbind(1)
        return {"precise": precise, "dense": dense}


def neighbours_work(subject: Subject, queries: tuple[Side, FeatureRows], rows: tuple[Side, FeatureRows]) -> Work:
    """The nearest rows of one side to each row of a side, or to each of its own rows.

    Args:
        subject: Names the extractor.
        queries: The side whose neighbours are wanted, and its features.
        rows: The side to search, and its features.
    """
    same = queries[0] == rows[0]
    compute = NearestRows(queries=queries[1], rows=rows[1], same=same)
    name = f"{_NAMES[queries[0]]}_neighbours" + ("" if same else f"_in_{_NAMES[rows[0]]}")
    return tensor_work(
        subject,
        compute,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        label=name,
        rows=_units(queries[1]),
        inputs={"queries": queries[1].manifest} | ({} if same else {"rows": rows[1].manifest}),
    )


def balls_work(
    subject: Subject, queries: tuple[Side, FeatureRows], rows: tuple[Side, FeatureRows], neighbours: Manifest
) -> Work:
    """The number of balls around the rows of one side that contain each row of another.

    Args:
        subject: Names the extractor.
        queries: The side whose rows lie in balls or not, and its features.
        rows: The side around whose rows the balls are, and its features.
        neighbours: The sealed neighbours of that side's rows among themselves, which give the radii.
    """
    compute = BallCounts(queries=queries[1], rows=rows[1], neighbours=neighbours)
    return tensor_work(
        subject,
        compute,
        stage=BALLS_STAGE,
        format_version=FORMAT_VERSION,
        label=f"{_NAMES[queries[0]]}_in_{_NAMES[rows[0]]}_balls",
        rows=_units(queries[1]),
        inputs={"queries": queries[1].manifest, "rows": rows[1].manifest, "neighbours": neighbours},
    )


def _units(queries: FeatureRows) -> list[int]:
    return [min(_QUERIES, queries.count - start) for start in range(0, queries.count, _QUERIES)]


def _numbers(queries: FeatureRows, unit: int) -> Tensor:
    return torch.arange(unit * _QUERIES, min((unit + 1) * _QUERIES, queries.count))
