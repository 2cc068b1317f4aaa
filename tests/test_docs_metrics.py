"""docs/metrics.md: its picture is the script's, and its names, directions and numbers are those of the code."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import flows.metrics.distance
import flows.metrics.sides
import infra.features.classifier
from benchmarks.intervals import REPEATS, T_9, T_19, World
from benchmarks.intervals_over_images import FIGURES, IMAGE_WORLDS, Sides
from ddpm_core.metrics.inception_score import SPLITS
from ddpm_core.metrics.jackknife import GROUPS
from ddpm_core.metrics.kernel import block_size, polynomial_kernel
from ddpm_core.metrics.manifold import DENSITY_K, PRECISION_K, expected_coverage
from ddpm_core.metrics.memorisation import ONE_IN, memorised_share
from docs import metrics_figures
from flows.artifacts import Figure
from flows.metrics import conditions, extractors, feature_likelihood, memorisation
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractors import sealed_weights
from flows.metrics.left_out import is_wide_enough
from flows.metrics.neighbours import NEIGHBOURS
from flows.metrics.table import METRICS
from infra.features.extractor import FEATURES
from infra.features.inception.network import SPATIAL
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, subject

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs" / "metrics.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
RESULTS = (TOP / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
ROWS = {
    name: (figures, better, error)
    for name, figures, better, error in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
}
# A figure's name needs features, classes or places that pixels do not have.
CLASSIFIED = [
    name for name in MetricName if name not in (MetricName.BITS_PER_DIM, MetricName.SFD, MetricName.EMA_LENGTHS)
]


def listed(metric: MetricName) -> tuple[list[str], list[str]]:
    """The names of a metric's figures on the page: by extractor, and in the literature."""
    ours, _, published = ROWS[metric][0].partition(";")
    return re.findall(r"`(\w+)`", ours), re.findall(r"`(\w+)`", published)


def test_the_picture_is_what_the_script_makes() -> None:
    svg = metrics_figures.drawing()
    assert metrics_figures.PICTURE.read_bytes() == svg.encode()
    assert f"]({metrics_figures.PICTURE.name})" in PAGE
    assert len(svg) < 20_000


def test_the_picture_shows_what_the_page_says() -> None:
    """Few samples are too far away by more than their whisker, the limit is not; copies move the three figures."""
    first, last = (
        metrics_figures.distance_at(count) for count in metrics_figures.COUNTS[:: len(metrics_figures.COUNTS) - 1]
    )
    truth, reach = metrics_figures.TRUTH, metrics_figures.REACH
    assert first.value - truth > reach * first.standard_error
    for found in (first, last):
        assert abs(found.corrected - truth) < reach * found.standard_error
    honest, copies = (
        metrics_figures.copied(share) for share in metrics_figures.SHARES[:: len(metrics_figures.SHARES) - 1]
    )
    assert copies.precise.value > honest.precise.value
    assert copies.gap.value > honest.gap.value
    assert copies.authentic.value < honest.authentic.value
    assert f"normal distribution in {metrics_figures.DIM} dimensions" in PROSE
    assert f"noise of {metrics_figures.NOISE:.0%} of".replace("%", " %") in PROSE
    assert reach == 2


def test_each_metric_has_a_row_and_a_section() -> None:
    assert list(ROWS) == list(MetricName)
    sections = re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)
    assert [name for name in sections if name in list(MetricName)] == list(MetricName)


def test_the_command_names_metrics_that_digits_have() -> None:
    (chosen,) = re.findall(r"evaluate\.metrics=\[(.*?)\]", PAGE)
    assert [MetricName(name.strip('" ')) for name in chosen.split(",")] == [
        name for name in MetricName if name not in (MetricName.SFD, MetricName.EMA_LENGTHS)
    ]


def test_names_by_extractor_are_those_of_a_run(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the classifier on a tiny run, then under the fields' names, as with published weights."""
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 5)
    monkeypatch.setattr(flows.metrics.distance, "is_wide_enough", lambda *_: True)
    weights = sealed_weights(ExtractorName.CLASSIFIER, tiny_run.dataset, threads=1, context=tiny_run.context)
    about = replace(subject(tiny_run), extractor=ExtractorName.CLASSIFIER, weights=weights)

    def names(metric: MetricName) -> list[str]:
        return [figure.name for figure in measured(METRICS[metric], about, tiny_run.context).figures]

    for metric in CLASSIFIED:
        assert names(metric) == listed(metric)[0], metric
    assert f"`accuracy_{ExtractorName.CLASSIFIER}` has the share of held-out images" in PROSE
    for module in (flows.metrics.distance, flows.metrics.sides):
        monkeypatch.setattr(module, "is_published", lambda *_: True)
    for metric in CLASSIFIED:
        assert names(metric) == (listed(metric)[1] or listed(metric)[0]), metric


def test_names_of_the_spatial_layer() -> None:
    """Its metric is that of `fd` on another layer, so its names follow from its parts."""
    (kind,) = METRICS[MetricName.SFD].args  # type: ignore[attr-defined]
    assert kind.layer == SPATIAL != FEATURES
    own, published = f"{kind.name}_{ExtractorName.INCEPTION}", kind.published[0]
    assert listed(MetricName.SFD) == ([own, f"{own}_infinity"], [published, f"{published}_infinity"])


def test_directions_are_those_that_decide_on_a_champion() -> None:
    words = {True: "higher", False: "lower"}
    for metric in MetricName:
        for name in [*listed(metric)[0], *listed(metric)[1]]:
            figure = conditions._figure(Figure(name=name, value=1.0, label="", note=""), {}, {})
            if figure.higher_is_better is None:
                assert re.match("about|near", ROWS[metric][1]), name
            else:
                assert ROWS[metric][1] == words[figure.higher_is_better], name


def test_numbers_of_the_metrics() -> None:
    assert f"fitted to at most {extractors._FITTED_IMAGES:,} training images" in PROSE
    assert f"{len(extractors._spread(1 << 20, 256 * 256 * 3)):,} colour images of 256x256" in PROSE
    assert extractors._FITTED_BYTES == 1 << 30
    assert f"{GROUPS} random groups of samples" in PROSE
    assert f"the jackknife's {GROUPS - 1}/{GROUPS} of them" in PROSE
    enough = next(count for count in range(2048, 4096) if is_wide_enough(count, 2048))
    assert f"for the 2,048 of Inception, from {enough:,} samples on" in PROSE
    assert not any(block_size(count) != max(2, min(1000, count // 10)) for count in range(2, 20_000, 7))
    assert "min(1,000, N / 10) images" in PROSE
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    assert float(polynomial_kernel(x, y)) == (11 / 2 + 1) ** 3
    assert "k(x, y) = (x·y / d + 1)³" in PROSE
    assert f"the mean over {SPLITS} splits" in PROSE
    assert f"warns below {SPLITS} images per class" in PROSE
    assert f"the {PRECISION_K}rd neighbour" in PROSE
    assert f"the {DENSITY_K}th neighbour" in PROSE
    assert f"divided by {DENSITY_K}." in PROSE
    assert f"is {expected_coverage(512, 1576):.3f} for 512 samples and 1,576 training images" in PROSE
    assert f"at least {NEIGHBOURS + 1} training images" in PROSE
    assert f"mean(d₁ … d{'₀₁₂₃₄₅₆₇₈₉'[NEIGHBOURS]})" in PROSE
    assert f"one in {ONE_IN} of m" in PROSE
    ranks = [round(memorised_share(x[0].double(), torch.arange(m).double()).expected * (m + 1)) for m in (198, 199)]
    assert ranks == [1, 2]
    assert "the single smallest if m is below 199" in PROSE
    assert f"the {memorisation._PAIRS} samples with the smallest ratios" in PROSE
    assert f"`memorised` at least {NEIGHBOURS} and {memorisation._FEWEST} held-out ones" in PROSE
    assert f"at most {feature_likelihood._MOST:,} images per side" in PROSE
    assert feature_likelihood._MOST**2 * 8 == 128 << 20
    assert f"{7 * 17 * 17:,} numbers that Inception keeps from 17x17 places" in PROSE


def test_intervals_are_those_of_the_benchmark() -> None:
    """Coverage in the tables of RESULTS.md, and Student's t in the code that made them."""
    lines = re.findall(r"^\| d = .*$", RESULTS, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    frechet, kernel = ([row for row in cells if len(row) == width] for width in (9, 5))
    assert len(frechet) == len(kernel) == 4
    limits = sorted((row[7] for row in frechet), key=lambda cell: float(cell.split()[0]))
    truths = sorted((row[4] for row in kernel), key=lambda cell: float(cell.split()[0]))
    plain = min((row[5] for row in frechet), key=lambda cell: float(cell.split()[0]))
    assert f"in {limits[0]} to {limits[-1]} of them" in PROSE
    assert f"in {truths[0]} to {truths[-1]}" in PROSE
    assert f"as few as {plain}" in PROSE
    assert f"draws {REPEATS} sets" in PROSE
    assert f"take {T_19:.2f} standard errors with {GROUPS} groups and {T_9:.2f} with 10 blocks" in PROSE


def test_intervals_over_images_are_those_of_the_benchmark() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in RESULTS.splitlines() if ", N = 300, " in line]
    assert [(row[0], row[1]) for row in rows] == [(name, world.name) for name in FIGURES for world in IMAGE_WORLDS]

    def share(cell: str) -> float:
        return float(cell.removesuffix(" %"))

    alone = sorted((row[4] for row in rows), key=share)
    assert f"hold it in {alone[0]} to {alone[-1]} of the sets" in PROSE
    free_of_balls = ("inception_score", "fld_gap")
    least = [min((row[7] for row in rows if (row[0] in free_of_balls) is free), key=share) for free in (True, False)]
    assert f"still do in {least[0]} or more" in PROSE
    assert f"in as few as {least[1]}: a ±" in PROSE


def test_figures_over_images_are_measured_as_the_stage_does() -> None:
    """Equal sides: a density of 1, the expected coverage, and half of the samples nearer to training images or not."""
    sides = [Sides.draw(World(name="", dim=4, count=200, shift=0.0, scale=1.0), seed) for seed in range(20)]

    def mean(name: str) -> float:
        return sum(FIGURES[name][0](one, one).value for one in sides) / len(sides)

    assert mean("density") == pytest.approx(1.0, abs=0.05)
    assert mean("coverage") == pytest.approx(expected_coverage(200, 200), abs=0.02)
    assert mean("precision") == pytest.approx(mean("recall"), abs=0.02)


def test_times_are_those_of_the_benchmark() -> None:
    (part,) = re.findall(r"^\| 50,000 against 50,000 rows of 2,048 .*\n((?:\|.*\n)+)", RESULTS, re.MULTILINE)
    times = dict(re.findall(r"^\| (.*?) \| ([\d.]+ s) ", part, re.MULTILINE))
    for words, row in (
        ("a Fréchet distance takes", "Fréchet distance from the sums"),
        ("its jackknife", "its jackknife over 20 groups"),
        ("a kernel distance", "kernel distance"),
        ("the neighbours within one side", "nearest neighbours within the reference"),
    ):
        assert f"{words} {times[row]}" in PROSE
