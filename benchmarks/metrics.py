"""The metrics of two sets of features, and Inception itself: `python -m benchmarks.metrics --rows 50000 --images 1000`.

Features are drawn, lie in files and are read in parts of 2,048 rows, as those of the evaluation are. Needs torch and
jaxtyping alone.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_blocks, random_groups
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.kernel import block_size, squared_mmd
from ddpm_core.metrics.manifold import DENSITY_K, PRECISION_K, Balls, balls_around
from ddpm_core.metrics.neighbours import nearest_neighbours
from infra.features.inception.network import Inception
from infra.features.inception.weights import weight_shapes

_DIMENSIONS, _PART, _QUERIES, _PAIRS = 2048, 2048, 8192, 8
_GROUPS = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """Features in a file that is mapped, not read; parts of it go to the device."""

    file: Tensor
    device: torch.device

    @classmethod
    def drawn(cls, path: Path, count: int, seed: int, device: torch.device) -> "Rows":
        """Draw normal features with a mean of their own."""
        file = torch.from_file(str(path), shared=True, size=count * _DIMENSIONS).view(count, _DIMENSIONS)
        generator = torch.Generator().manual_seed(seed)
        for part in torch.split(file, _PART):
            part.normal_(generator=generator).add_(0.02 * seed)
        return cls(file, device)

    def parts(self) -> Iterator[Tensor]:
        """Yield all rows on the device, some at a time."""
        return (part.to(self.device) for part in torch.split(self.file, _PART))

    def queries(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers and the rows of the queries of each unit."""
        for numbers in torch.arange(len(self.file)).split(_QUERIES):
            yield numbers.to(self.device), self.file[numbers].to(self.device)

    def stats(self) -> FeatureStats:
        """Return the sums over all rows."""
        total = FeatureStats.empty(_DIMENSIONS, self.device)
        for part in self.parts():
            total = total.update(part)
        return total


def neighbours(queries: Rows, rows: Rows, *, same: bool) -> Tensor:
    """Return the squared distances of each query to its nearest rows."""
    found = []
    for numbers, part in queries.queries():
        nearest = nearest_neighbours(
            part, rows.parts(), DENSITY_K, centre=part.double().mean(0), own_rows=numbers if same else None
        )
        found.append(nearest.squared_distances)
    return torch.cat(found)


def balls(queries: Rows, rows: Rows, distances: Tensor) -> Tensor:
    """Return the number of balls around the rows that hold each query, for both radii."""
    radii, found = distances[:, [PRECISION_K - 1, DENSITY_K - 1]], []
    for _, part in queries.queries():
        blocks = (Balls(block, radius) for block, radius in zip(rows.parts(), radii.split(_PART), strict=True))
        found.append(balls_around(part, blocks, closed=[True, False], centre=part.double().mean(0)))
    return torch.cat(found)


def kernel(samples: Rows, reference: Rows) -> list[float]:
    """Return the squared MMD of all pairs of random blocks."""
    size = block_size(len(samples.file))
    blocks = [random_blocks(0, len(side.file), number, size) for number, side in enumerate((reference, samples))]
    return [
        squared_mmd(samples.file[mine].to(samples.device), reference.file[theirs].to(samples.device))
        for theirs, mine in zip(*blocks, strict=True)
    ]


def left_out(samples: Rows, total: FeatureStats, reference: FeatureStats) -> list[float]:
    """Return the Fréchet distance without each group of samples."""
    distances = []
    for group in random_groups(0, len(samples.file), 1, _GROUPS):
        part = FeatureStats.empty(_DIMENSIONS, samples.device).update(samples.file[group].to(samples.device))
        distances.append(frechet_distance(total.without(part), reference))
    return distances


def inception_weights(device: torch.device) -> dict[str, Tensor]:
    """Return random weights of Inception that keep the scale of what passes through them."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in weight_shapes().items():
        scale = (2 / max(torch.Size(shape[1:]).numel(), 1)) ** 0.5 if len(shape) > 1 else 1.0
        is_scale = name.endswith(("bn.weight", "running_var"))
        drawn = torch.ones(shape) if is_scale else scale * torch.randn(shape, generator=generator)
        weights[name] = drawn.to(device)
    return weights


class Clock:
    """Prints the time of each call, and the peak memory so far."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        """Return the call's result."""
        self._wait()
        started = time.perf_counter()
        result = call()
        self._wait()
        on_device = torch.cuda.max_memory_allocated() / 2**30 if self._device.type == "cuda" else 0.0
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {name} | {time.perf_counter() - started:,.1f} s | {on_device:.2f} GiB | {host:.2f} GiB |", flush=True)
        return result

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Print a table of times and peaks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    device, clock = torch.device(given.device), Clock(torch.device(given.device))
    print(
        f"| {given.rows:,} against {given.rows:,} rows of {_DIMENSIONS:,} | time | peak on the device | of the host |"
    )
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        reference, samples = (Rows.drawn(Path(folder) / str(n), given.rows, n, device) for n in (1, 2))
        sums = clock("sums of both sides", lambda: (reference.stats(), samples.stats()))
        clock("Fréchet distance from the sums", lambda: frechet_distance(sums[1], sums[0]))
        clock(f"its jackknife over {_GROUPS} groups", lambda: left_out(samples, sums[1], sums[0]))
        clock("kernel distance", lambda: kernel(samples, reference))
        within = clock("nearest neighbours within the reference", lambda: neighbours(reference, reference, same=True))
        clock("within the samples", lambda: neighbours(samples, samples, same=True))
        clock("of the samples in the reference", lambda: neighbours(samples, reference, same=False))
        clock("balls of the reference around the samples", lambda: balls(samples, reference, within))
    images, extract = (
        torch.randint(256, (given.images, 3, 32, 32), dtype=torch.uint8),
        Inception(inception_weights(device)),
    )
    extract(images[:16])
    clock(f"Inception, {given.images:,} images of 32x32", lambda: extract(images))


if __name__ == "__main__":
    main()
