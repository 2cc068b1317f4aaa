"""The picture of docs/metrics.md, from `ddpm_core.metrics` alone: `.venv/bin/python -m docs.metrics_figures`.

On the left, samples of a normal distribution whose distance to the reference is known. On the right, real digits in
place of samples, more and more of which are copies of training images with a little noise.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits

from ddpm_core.metrics.authenticity import authentic_percentage
from ddpm_core.metrics.blocks import random_groups, random_rows
from ddpm_core.metrics.estimate import Estimate
from ddpm_core.metrics.feature_likelihood import fit_mixture, generalisation_gap, normalisation
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import GROUPS, Jackknife, jackknife
from ddpm_core.metrics.manifold import PRECISION_K, Balls, balls_around, precision
from ddpm_core.metrics.neighbours import nearest_neighbours
from ddpm_core.rng import Stream, normal
from docs.seed_svg import BLACK, BLUE, GREEN, RED, Axis, Panel, numbered, picture

PICTURE = Path(__file__).parent / "metrics.svg"
DIM, SHIFT, SCALE = 16, 0.1, 1.1
TRUTH = DIM * (SHIFT**2 + (SCALE - 1) ** 2)
COUNTS = (50, 100, 200, 500, 1000, 2000, 5000)
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5)
# Standard deviation of the copies' noise, as a share of each pixel's over the training images.
NOISE = 0.05
# A whisker reaches so many standard errors.
REACH = 2


class Copied(NamedTuple):
    """Figures of samples some of which are copies; each is between 0 and 1 or little above."""

    precise: Estimate
    authentic: Estimate
    gap: Estimate


def distance_at(count: int) -> Jackknife:
    """The Fréchet distance of so many samples of N(0.1, 1.1^2 I) to N(0, I), whose statistics are exact."""
    many, zeros = 10**9, torch.zeros(DIM, dtype=torch.float64)
    reference = FeatureStats(count=many, total=zeros, outer=(many - 1) * torch.eye(DIM, dtype=torch.float64))
    drawn = SHIFT + SCALE * normal(count, Stream.X_T, torch.arange(count), (DIM,)).double()
    groups = [FeatureStats.empty(DIM).update(drawn[rows]) for rows in random_groups(count, count, 1, GROUPS)]
    total = FeatureStats.empty(DIM).update(drawn)
    left_out = [frechet_distance(total.without(group), reference) for group in groups]
    return jackknife(frechet_distance(total, reference), left_out, [group.count for group in groups])


def copied(share: float) -> Copied:
    """Real digits as samples, of which a share are near copies of training images."""
    digits = torch.from_numpy(load_digits().data)
    training, fresh, held_out = digits[random_rows(0, len(digits), 0)].tensor_split((800, 1400))
    copies = round(share * len(fresh))
    noise = NOISE * training.std(0) * normal(0, Stream.X_T, torch.arange(copies), (digits.shape[1],)).double()
    samples = torch.cat((training[:copies] + noise, fresh[copies:]))
    centre = training.mean(0)
    own = nearest_neighbours(training, [training], PRECISION_K, centre=centre, own_rows=torch.arange(len(training)))
    near = nearest_neighbours(samples, [training], 1, centre=centre)
    balls = Balls(training, own.squared_distances[:, -1:])
    scale = normalisation(training)
    mixture = fit_mixture(scale(samples), scale(training)).mixture
    percentage = authentic_percentage(near, own.squared_distances[:, 0])
    return Copied(
        precise=precision(balls_around(samples, [balls], closed=[True], centre=centre)[:, 0]),
        authentic=Estimate(percentage.value / 100, (percentage.standard_error or 0.0) / 100),
        gap=generalisation_gap(mixture.log_likelihood(scale(training)), mixture.log_likelihood(scale(held_out))),
    )


def drawing() -> str:
    """The picture as SVG."""
    distances = [distance_at(count) for count in COUNTS]
    left = Panel(
        Axis("N samples", 40, 6000, [(count, f"{count:,}") for count in (50, 200, 1000, 5000)], log=True),
        numbered("Fréchet distance", -1, 0, 1, 2, 3),
        width=280,
        title="Few images: the distance is too large",
        legend=(0.36, 0.05),
    )
    values = [Estimate(found.value, found.standard_error) for found in distances]
    limits = [Estimate(found.corrected, found.standard_error) for found in distances]
    dots(left, "of N samples", COUNTS, values, BLUE)
    dots(left, "without its bias, “infinity”", [1.06 * count for count in COUNTS], limits, GREEN)
    left.line(f"the truth, {TRUTH:.2f}", [40, 6000], [TRUTH, TRUTH], BLACK, "6 4")
    shares = [100 * share for share in SHARES]
    right = Panel(
        Axis("near copies among the samples, %", -3, 53, [(share, f"{share:g}") for share in shares[::2]]),
        numbered("figure", 0, 0.5, 1, 1.5),
        left=430,
        width=280,
        title="Copies: precision likes them",
        legend=(0.05, 0.05),
    )
    found = [copied(share) for share in SHARES]
    dots(right, "precision", shares, [one.precise for one in found], BLUE)
    dots(right, "AuthPct ÷ 100", shares, [one.authentic for one in found], RED)
    dots(right, "gap of FLD, nats", shares, [one.gap for one in found], GREEN)
    return picture(730, 360, [*left.svg(), *right.svg()])


def dots(panel: Panel, name: str, x: list[float] | tuple[int, ...], found: list[Estimate], colour: str) -> None:
    """Draw figures as a line with whiskers of two standard errors."""
    panel.line(name, x, [one.value for one in found], colour)
    for place, one in zip(x, found, strict=True):
        value, error = one.value, one.standard_error
        reach = REACH * (error or 0.0)
        low, high = panel.points([place, place], [value - reach, value + reach]).split()
        panel.lines.append(f'<path stroke="{colour}" stroke-width="1.5" d="M{low}L{high}"/>')
        middle, height = panel.points([place], [value]).split(",")
        panel.lines.append(f'<circle cx="{middle}" cy="{height}" r="3" fill="{colour}"/>')


def main() -> None:
    """Write the picture."""
    torch.set_num_threads(1)
    PICTURE.write_text(drawing(), encoding="utf-8")


if __name__ == "__main__":
    main()
