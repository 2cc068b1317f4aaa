"""Coverage of the intervals of figures over images, by simulation: `python -m benchmarks.intervals_over_images`.

No closed form gives these figures, so the truth is their mean over all repetitions. An error is over the images that a
figure averages, with everything else as it is: the first columns draw those images alone, the last ones draw all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.intervals import REPEATS, T_9, World, mean_of, share_that_holds, spread_of
from ddpm_core.metrics.authenticity import authentic_percentage
from ddpm_core.metrics.estimate import Estimate
from ddpm_core.metrics.feature_likelihood import fit_mixture, generalisation_gap, normalisation
from ddpm_core.metrics.inception_score import SPLITS, ClassStats, score_over_splits, split_bounds
from ddpm_core.metrics.manifold import DENSITY_K, PRECISION_K, Balls, balls_around, coverage, density, precision
from ddpm_core.metrics.neighbours import Neighbours, nearest_neighbours

# Two-sided 95 % of Student's t with 299 degrees of freedom.
T_299 = 1.968
_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Features of as many training images, held-out images and samples; the first two have one distribution."""

    training: Tensor
    held_out: Tensor
    samples: Tensor

    @classmethod
    def draw(cls, world: World, seed: int) -> "Sides":
        """All three of one repetition."""
        real = replace(world, shift=0.0, scale=1.0)
        return cls(training=real.draw(3 * seed), held_out=real.draw(3 * seed + 1), samples=world.draw(3 * seed + 2))


def _neighbours(queries: Tensor, rows: Tensor, k: int) -> Neighbours:
    """The k nearest rows of each query, of which none is its own."""
    own = torch.arange(len(queries)) if queries is rows else None
    return nearest_neighbours(queries, [rows], k, centre=rows.mean(0), own_rows=own)


def _radii(rows: Tensor, k: int) -> Tensor:
    return _neighbours(rows, rows, k).squared_distances[:, -1:]


def _balls(queries: Tensor, centres: Tensor, k: int, *, closed: bool) -> Tensor:
    """The number of balls around the centres that hold each query."""
    balls = Balls(centres, _radii(centres, k))
    return balls_around(queries, [balls], closed=[closed], centre=centres.mean(0))[:, 0]


def _score(sides: Sides, _: Sides) -> Estimate:
    weights = torch.randn(sides.samples.shape[1], _CLASSES, generator=torch.Generator().manual_seed(0)).double()
    logits, empty = sides.samples @ weights, ClassStats.empty(_CLASSES)
    splits = score_over_splits([empty.update(logits[start:stop]) for start, stop in split_bounds(len(logits))])
    return Estimate(splits.mean, splits.standard_error, SPLITS)


def _precision(sides: Sides, _: Sides) -> Estimate:
    return precision(_balls(sides.samples, sides.training, PRECISION_K, closed=True))


def _recall(sides: Sides, _: Sides) -> Estimate:
    return precision(_balls(sides.training, sides.samples, PRECISION_K, closed=True))


def _density(sides: Sides, _: Sides) -> Estimate:
    return density(_balls(sides.samples, sides.training, DENSITY_K, closed=False))


def _coverage(sides: Sides, _: Sides) -> Estimate:
    nearest = _neighbours(sides.training, sides.samples, 1).squared_distances[:, 0]
    return coverage(nearest, _radii(sides.training, DENSITY_K)[:, 0])


def _authentic(sides: Sides, _: Sides) -> Estimate:
    return authentic_percentage(_neighbours(sides.samples, sides.training, 1), _radii(sides.training, 1)[:, 0])


def _gap(sides: Sides, fitted: Sides) -> Estimate:
    scale = normalisation(fitted.training)
    mixture = fit_mixture(scale(fitted.samples), scale(fitted.training)).mixture
    return generalisation_gap(*(mixture.log_likelihood(scale(side)) for side in (sides.training, sides.held_out)))


# Each figure, and the images that its error is over.
FIGURES: dict[str, tuple[Callable[[Sides, Sides], Estimate], tuple[str, ...]]] = {
    "inception_score": (_score, ("samples",)),
    "precision": (_precision, ("samples",)),
    "recall": (_recall, ("training",)),
    "density": (_density, ("samples",)),
    "coverage": (_coverage, ("training",)),
    "auth_pct": (_authentic, ("samples",)),
    "fld_gap": (_gap, ("training", "held_out")),
}
IMAGE_WORLDS = (
    World(name="d = 4, N = 300, far", dim=4, count=300, shift=0.0, scale=1.5),
    World(name="d = 16, N = 300, near", dim=16, count=300, shift=0.1, scale=1.0),
)


def figure_row(name: str, world: World) -> str:
    """One row of the table of figures over images: those of the error drawn alone, and all images drawn."""
    measure, over = FIGURES[name]
    fixed, reach = Sides.draw(world, REPEATS), T_9 if name == "inception_score" else T_299
    cells = []
    for all_drawn in (False, True):
        values, errors = [], []
        for seed in range(REPEATS):
            drawn = Sides.draw(world, seed)
            sides = drawn if all_drawn else replace(fixed, **{side: getattr(drawn, side) for side in over})
            found = measure(sides, drawn if all_drawn else fixed)
            values.append(found.value)
            errors.append(found.standard_error or 0.0)
        error = torch.tensor(errors)
        spreads = f"{spread_of(values):.4f}, {float((error**2).mean()) ** 0.5:.4f}"
        cells += [f"{mean_of(values):.4f}", spreads, share_that_holds(values, error, mean_of(values), reach)]
    return f"| {name} | {world.name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table; a share of 95 % is uncertain by 1.1 % itself."""
    torch.set_num_threads(1)
    print(
        "| figure | samples | mean | spread, mean error | holds the mean | all drawn: mean | spread | holds the mean |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in FIGURES:
        for world in IMAGE_WORLDS:
            print(figure_row(name, world), flush=True)


if __name__ == "__main__":
    main()
