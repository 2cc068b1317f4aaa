"""A distance with one group of samples left out after the other: the spread of these gives its standard error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_groups
from ddpm_core.metrics.frechet import FeatureStats
from ddpm_core.metrics.jackknife import GROUPS, Jackknife, jackknife
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.metric import Subject
from flows.metrics.sides import Side
from flows.metrics.statistics import read_stats
from flows.metrics.tensor_units import read_columns, tensor_work
from flows.metrics.together import Work
from infra.outputs.manifest import Manifest
from infra.storage.store import Store

STAGE = "left_out"
FORMAT_VERSION = 1
# Groups per unit, read in one pass over the samples.
_GROUPS = 4
# Rows of a group that are held at once; four groups of Inception's take 268 MB.
_HELD = 1 << 13
# (samples, reference) -> their distance.
Distance = Callable[[FeatureStats, FeatureStats], float]


@dataclass(frozen=True, kw_only=True)
class LeftOutDistances:
    """The distances of the samples without some of their random groups."""

    name: str
    distance: Distance
    samples: FeatureRows
    samples_statistics: Manifest
    reference_statistics: Manifest
    seed: int

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return the `distances`, float64, and the `sizes` of the groups of a unit."""
        store = self.samples.store
        total, reference = (
            _on(read_stats(manifest, store), device)
            for manifest in (self.samples_statistics, self.reference_statistics)
        )
        groups = random_groups(self.seed, self.samples.count, Side.SAMPLES, GROUPS)
        groups = groups[number * _GROUPS : (number + 1) * _GROUPS]
        distances = [self.distance(total.without(part), reference) for part in self._sums(groups, device)]
        sizes = [len(group) for group in groups]
        return {"distances": torch.tensor(distances, dtype=torch.float64), "sizes": torch.tensor(sizes)}

    def _sums(self, groups: Sequence[Tensor], device: torch.device) -> list[FeatureStats]:
        """Return the sums over each group's rows, in one pass over all samples."""
        group, place = (torch.full((self.samples.count,), -1) for _ in range(2))
        for number, rows in enumerate(groups):
            group[rows], place[rows] = number, torch.arange(len(rows))
        sums, first = [_Sum(self.samples.dimensions, device) for _ in groups], 0
        for part in self.samples.parts():
            here = slice(first, first + len(part))
            for number, of_group in enumerate(sums):
                chosen = group[here] == number
                of_group.add(part[chosen], place[here][chosen])
            first += len(part)
        return [of_group.whole() for of_group in sums]


class _Sum:
    """The sums over a group's rows: of `_HELD` or a few more at a time, each time in the group's random order."""

    def __init__(self, dimensions: int, device: torch.device) -> None:
        self._stats, self._device = FeatureStats.empty(dimensions, device), device
        self._rows: list[Tensor] = []
        self._places: list[Tensor] = []

    def add(self, rows: Tensor, places: Tensor) -> None:
        """Add rows [n, d] with their places in the group [n]."""
        self._rows.append(rows)
        self._places.append(places)
        if sum(map(len, self._rows)) >= _HELD:
            self.whole()

    def whole(self) -> FeatureStats:
        """Add up what is held, and return the sums."""
        if self._rows:
            rows = torch.cat(self._rows)[torch.cat(self._places).argsort()]
            self._rows, self._places = [], []
            self._stats = self._stats.update(rows.to(self._device))
        return self._stats


def left_out_work(subject: Subject, compute: LeftOutDistances) -> Work:
    """The distances without each group of samples.

    Args:
        subject: Names the extractor.
        compute: Computes them.
    """
    return tensor_work(
        subject,
        compute,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        label=f"{compute.name}_left_out",
        rows=[min(_GROUPS, GROUPS - first) for first in range(0, GROUPS, _GROUPS)],
        inputs={
            "features": compute.samples.manifest,
            "samples": compute.samples_statistics,
            "reference": compute.reference_statistics,
        },
        # The sums of a larger group are added up piece by piece, in another order.
        settings={"distance": compute.name}
        | subject.key_of(["seed"])
        | ({"held": _HELD} if compute.samples.count > _HELD * GROUPS else {}),
    )


def is_wide_enough(count: int, dimensions: int) -> bool:
    """Tell whether every part of the samples spans all dimensions, so that the bias falls like 1/N.

    Below that a covariance without a group has less than full rank, the jackknife's line in 1/N does not hold, and each
    distance takes several times longer.
    """
    return count >= fewest_samples(dimensions)


def fewest_samples(dimensions: int) -> int:
    """Return the number of samples from which on each part spans all dimensions."""
    return GROUPS * (dimensions // (GROUPS - 1) + 1)


def read_jackknife(value: float, left_out: Manifest, store: Store) -> Jackknife:
    """Return a distance's error and its value without bias from the sealed distances without each group."""
    found = read_columns(left_out, store)
    return jackknife(value, found["distances"].tolist(), found["sizes"].tolist())


def _on(stats: FeatureStats, device: torch.device) -> FeatureStats:
    return FeatureStats(count=stats.count, total=stats.total.to(device), outer=stats.outer.to(device))
