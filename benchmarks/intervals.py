"""Coverage of the metrics' intervals by simulation where the truth is known: `python -m benchmarks.intervals`."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_blocks, random_groups
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import GROUPS, jackknife, value_at_infinity
from ddpm_core.metrics.kernel import block_size, kernel_distance, squared_mmd

REPEATS = 400
# Two-sided 95 % of Student's t with 19 and with 9 degrees of freedom.
T_19, T_9 = 2.093, 2.262


@dataclass(frozen=True, kw_only=True)
class World:
    """Samples from N(shift, scale^2 I) against a fixed reference N(0, I); `name` describes both."""

    name: str
    dim: int
    count: int
    shift: float
    scale: float

    def draw(self, seed: int) -> Tensor:
        """Samples of one repetition."""
        generator = torch.Generator().manual_seed(seed)
        return self.shift + self.scale * torch.randn(self.count, self.dim, generator=generator, dtype=torch.float64)

    @property
    def reference(self) -> FeatureStats:
        """Exact statistics of N(0, I)."""
        many, zeros = 10**9, torch.zeros(self.dim, dtype=torch.float64)
        return FeatureStats(count=many, total=zeros, outer=(many - 1) * torch.eye(self.dim, dtype=torch.float64))

    @property
    def distance(self) -> float:
        """The Fréchet distance of infinitely many samples."""
        return self.dim * (self.shift**2 + (self.scale - 1) ** 2)

    @property
    def kernel_distance(self) -> float:
        """MMD^2 of the two Gaussians with k = (x.y / d + 1)^3, by the moments of x.y."""

        def kernel(mean_a: float, var_a: float, mean_b: float, var_b: float) -> float:
            """E (x.y / d + 1)^3: given y, x.y is normal with the mean and variance that y gives."""
            d, product = self.dim, self.dim * mean_a * mean_b
            variance, quadratic = d * mean_a**2 * var_b, d * var_a * (var_b + mean_b**2)
            mixed = product * quadratic + 2 * product * var_a * var_b
            second = product**2 + variance + quadratic
            return (product**3 + 3 * product * variance + 3 * mixed) / d**3 + 3 * second / d**2 + 3 * product / d + 1

        ours, theirs = (self.shift, self.scale**2), (0.0, 1.0)
        return kernel(*ours, *ours) + kernel(*theirs, *theirs) - 2 * kernel(*ours, *theirs)


WORLDS = (
    World(name="d = 4, N = 500, far", dim=4, count=500, shift=0.0, scale=1.5),
    World(name="d = 32, N = 1,000, far", dim=32, count=1000, shift=0.2, scale=1.1),
    World(name="d = 32, N = 1,000, equal", dim=32, count=1000, shift=0.0, scale=1.0),
    World(name="d = 64, N = 320, near", dim=64, count=320, shift=0.05, scale=1.0),
)


def grouped(world: World, seed: int) -> list[FeatureStats]:
    """The statistics of each random group of one repetition's samples."""
    drawn = world.draw(seed)
    groups = random_groups(seed, world.count, 0, GROUPS)
    return [FeatureStats.empty(world.dim).update(drawn[rows]) for rows in groups]


def merged(parts: list[FeatureStats]) -> FeatureStats:
    """The statistics of all parts together."""
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    return total


def frechet_row(world: World) -> str:
    """One row of the table of Fréchet distances."""
    reference, values, errors, corrected, lines = world.reference, [], [], [], []
    for seed in range(REPEATS):
        groups = grouped(world, seed)
        total = merged(groups)
        left_out = [frechet_distance(total.without(group), reference) for group in groups]
        found = jackknife(frechet_distance(total, reference), left_out, [group.count for group in groups])
        values.append(found.value)
        errors.append(found.standard_error)
        corrected.append(found.corrected)
        # Chong and Forsyth's rule at our sizes: 15 numbers of images from a tenth to all, each a beginning of the rows.
        sizes = sorted({max(2, round(GROUPS * (0.1 + 0.9 * i / 14))) for i in range(15)})
        beginnings = [merged(groups[:size]) for size in sizes]
        lines.append(
            value_at_infinity(
                [one.count for one in beginnings], [frechet_distance(one, reference) for one in beginnings]
            )
        )
    error = torch.tensor(errors)
    mean = float(torch.tensor(values).mean())
    cells = [
        f"{world.distance:.4f}",
        f"{mean:.4f}",
        f"{spread_of(values):.4f}, {float((error**2).mean()) ** 0.5:.4f}",
        share_that_holds(values, error, mean, T_19),
        share_that_holds(values, error, world.distance, T_19),
        f"{mean_of(corrected):.4f} ± {spread_of(corrected):.4f}",
        share_that_holds(corrected, error, world.distance, T_19),
        f"{mean_of(lines):.4f} ± {spread_of(lines):.4f}",
    ]
    return f"| {world.name} | {' | '.join(cells)} |"


def kernel_row(world: World) -> str:
    """One row of the table of kernel distances; the other side is drawn too."""
    truth, size = world.kernel_distance, block_size(world.count)
    values, errors = [], []
    for seed in range(REPEATS):
        ours = world.draw(2 * seed)
        theirs = World(name="", dim=world.dim, count=world.count, shift=0.0, scale=1.0).draw(2 * seed + 1)
        sides = zip(random_blocks(seed, world.count, 0, size), random_blocks(seed, world.count, 1, size), strict=True)
        found = kernel_distance([squared_mmd(ours[rows], theirs[others]) for rows, others in sides])
        values.append(found.value)
        errors.append(found.standard_error or math.nan)
    error = torch.tensor(errors)
    cells = [
        f"{truth:.5f}",
        f"{mean_of(values):.5f}",
        f"{spread_of(values):.5f}, {float((error**2).mean()) ** 0.5:.5f}",
        share_that_holds(values, error, truth, T_9),
    ]
    return f"| {world.name} | {' | '.join(cells)} |"


def mean_of(values: list[float]) -> float:
    """Return the mean."""
    return float(torch.tensor(values, dtype=torch.float64).mean())


def spread_of(values: list[float]) -> float:
    """Return the standard deviation."""
    return float(torch.tensor(values, dtype=torch.float64).std())


def share_that_holds(values: list[float], errors: Tensor, truth: float, reach: float) -> str:
    """Return the share of intervals that hold the truth, in percent."""
    held = (torch.tensor(values) - truth).abs() <= reach * errors
    return f"{100 * float(held.double().mean()):.1f} %"


def main() -> None:
    """Print both tables; a share of 95 % is uncertain by 1.1 % itself."""
    torch.set_num_threads(1)
    print(
        "| Fréchet distance | limit | mean | spread, mean error | holds the mean | holds the limit "
        "| corrected ± spread | holds the limit | line of 15 sizes ± spread |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for world in WORLDS:
        print(frechet_row(world), flush=True)
    print("\n| kernel distance | truth | mean | spread, mean error | holds the truth |\n|---|---|---|---|---|")
    for world in WORLDS:
        print(kernel_row(world), flush=True)


if __name__ == "__main__":
    main()
