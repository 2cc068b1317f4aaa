"""docs/scaling.md: the account of one GPU is computed from the code, the paper's figures and the rows of an H200."""

import re
from math import prod
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.flops import count
from benchmarks.gpu.run import SECTIONS
from ddpm_core.network.unet import UNet
from flows.recipe.presets.table import preset
from flows.recipe.settings import load_config
from flows.stages.sample.batch import LARGEST, fitting_batch
from flows.stages.train.data import LARGEST_SHARE
from flows.stages.train.points import POINTS_APART, Cadence, images_between_points
from infra.errors import ConfigError
from infra.features.inception.network import Inception
from infra.features.inception.weights import weight_shapes

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs" / "scaling.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
H200 = (TOP / "benchmarks" / "h200.md").read_text(encoding="utf-8")
HOUR_S = 3600
RECIPE = preset("cifar10")
IMAGES, TIMESTEPS, DRAWN = RECIPE.train.total_images, RECIPE.train.num_timesteps, RECIPE.sample.count
HELD_OUT = RECIPE.evaluate.bpd_images
# Ho et al. 2020, appendix B: steps/s at batch 128, hours for 800,000 steps, seconds for a batch of 256 samples.
TPU_STEPS_PER_S, TPU_HOURS, TPU_BATCH_S, TPU_BATCH = 21, 10.6, 17, 256


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(heading: str) -> list[list[str]]:
    """The body of the table whose first column has this heading."""
    _, _, rest = PAGE.partition(f"\n| {heading} |")
    lines = rest.splitlines()[2:]
    return [cells(line) for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("|"))]]


def rows_of(section: str) -> dict[str, dict[str, str]]:
    """The rows of a section of h200.md by name, each with its columns."""
    _, _, rest = H200.partition(f"\n| {section} |")
    heads, _, *lines = (f"| {section} |" + rest).split("\n\n")[0].splitlines()
    return {cells(line)[0]: dict(zip(cells(heads), cells(line), strict=True)) for line in lines}


def figure(place: str, column: str) -> float:
    section, _, row = place.partition(": ")
    return float(rows_of(section)[row][column])


@pytest.fixture(scope="module")
def flops() -> tuple[float, float]:
    """Operations of an image's forward pass and of its train step."""
    return count(RECIPE.train.unet(32, 3))


def inception_flops() -> float:
    """Operations of an image's features, counted without computing any."""
    weights = {name: torch.empty(shape, device="meta") for name, shape in weight_shapes().items()}
    image = torch.empty(1, 3, 32, 32, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counted:
        Inception(weights)(image)
    return float(counted.get_total_flops())


def test_the_operations(flops: tuple[float, float]) -> None:
    forward, train = flops
    steps = IMAGES // RECIPE.train.batch_size
    assert RECIPE.evaluate.likelihood == ["bound"]
    assert [row for row in table("work") if len(row) == 3] == [
        ["forward pass", "one image", f"{forward / 1e9:.2f} GFLOP"],
        ["train step", "one image", f"{train / 1e9:.2f} GFLOP, {train / forward:.2f} forward passes"],
        ["training", f"{steps:,} steps of {RECIPE.train.batch_size} images", f"{train * IMAGES / 1e18:.3f} EFLOP"],
        ["sampling", f"{DRAWN:,} images in {TIMESTEPS:,} steps", f"{forward * DRAWN * TIMESTEPS / 1e18:.3f} EFLOP"],
        [
            "the bound",
            f"{HELD_OUT:,} images, {TIMESTEPS:,} timesteps each",
            f"{forward * HELD_OUT * TIMESTEPS / 1e18:.3f} EFLOP",
        ],
        ["Inception's features, if asked for", "100,000 images", f"{inception_flops() * 1e5 / 1e18:.4f} EFLOP"],
    ]


def test_the_papers_figures_in_these_units(flops: tuple[float, float]) -> None:
    forward, train = flops
    steps = IMAGES // RECIPE.train.batch_size
    assert steps / TPU_STEPS_PER_S / HOUR_S == pytest.approx(TPU_HOURS, rel=0.01), "two figures of the paper"
    rate, drawn = TPU_STEPS_PER_S * RECIPE.train.batch_size, TPU_BATCH / TPU_BATCH_S
    for said in (
        f"{TPU_STEPS_PER_S} steps/s, {TPU_HOURS} hours for all steps, and {TPU_BATCH_S} s to draw {TPU_BATCH} images",
        f"{rate:,} images/s or {rate * train / 1e12:.0f} TFLOP/s in training",
        f"{drawn:.1f} images/s or {drawn * TIMESTEPS * forward / 1e12:.0f} TFLOP/s in sampling",
        f"{DRAWN / drawn / 60:.0f} minutes for {DRAWN:,} images",
    ):
        assert said in PROSE


AMOUNTS = {"training": IMAGES, "sampling": DRAWN * TIMESTEPS, "the bound": HELD_OUT}
ACCOUNT = table("work | section and row of `make gpu`")


def hours(place: str, column: str) -> float:
    work = {"sample": "sampling", "bound": "the bound"}.get(place.partition(":")[0], "training")
    return AMOUNTS[work] / figure(place, column) / HOUR_S


@pytest.mark.parametrize(("work", "place", "column", "rate", "whole"), ACCOUNT, ids=[row[0] for row in ACCOUNT])
def test_a_row_of_the_account(work: str, place: str, column: str, rate: str, whole: str) -> None:
    assert place.partition(": ")[0] in SECTIONS, "make gpu writes this section"
    assert work.startswith(tuple(AMOUNTS))
    assert figure(place, column) == float(rate)
    assert whole == f"{hours(place, column):.1f} h"
    for setting in re.findall(r"`(\S+=\S+)`", work):
        load_config("cifar10", None, [setting, "prepare.source=x"])


def test_the_whole_run() -> None:
    by_place = {row[1]: hours(row[1], row[2]) for row in ACCOUNT}
    training = by_place["train: batch 128, bfloat16"]
    preset_batches = (
        by_place[f"sample: ancestral, batch {RECIPE.sample.batch_size}, bfloat16"],
        by_place[f"bound: batch {RECIPE.evaluate.batch_size}, float32"],
    )
    larger = by_place["sample: ancestral, batch 256, bfloat16"], by_place["bound: batch 128, float32"]
    assert f"should take {training + sum(preset_batches):.1f} hours there" in PROSE
    assert f"it should take {training + sum(larger):.1f}." in PROSE


def test_the_batch_that_fits() -> None:
    assert fitting_batch(RECIPE.train.unet(32, 3), 16 * 10**9) == LARGEST
    assert f"For this network it is {LARGEST:,} on any GPU with 16 GB" in PROSE


def test_the_formulas_for_another_gpu(flops: tuple[float, float]) -> None:
    forward, train = flops
    seconds = [IMAGES, DRAWN * TIMESTEPS, HELD_OUT]
    work = [IMAGES * train, DRAWN * TIMESTEPS * forward, HELD_OUT * TIMESTEPS * forward]
    by_rate, by_tflops = [one / HOUR_S for one in seconds], [one / 1e12 / HOUR_S for one in work]
    assert f"{by_rate[0]:,.0f} hours divided by the images/s of the train row, {by_rate[1]:,.0f} hours" in PROSE
    assert f"{by_rate[2]:.2f} hours divided by the images/s of the bound row" in PROSE
    training, sampling, bound = (f"{one:,.0f}" for one in by_tflops)
    assert f"training takes {training} hours divided by it, sampling {sampling}, the bound {bound}." in PROSE
    share = figure("train: batch 128, bfloat16", "share of ceiling")
    assert f"reached {100 * share:.1f} % of its own matrix product" in PROSE
    assert re.search(r"commit (\w+)", H200)[1] in PAGE


def test_the_memory_of_the_training_images() -> None:
    assert LARGEST_SHARE == 0.25
    assert "at most a quarter of the GPU's free memory" in PROSE
    assert f"CIFAR-10 takes {50_000 * prod((3, 32, 32)) / 1e6:.0f} MB" in PROSE


def points_at(images_per_s: float) -> int:
    """The points of the recipe, that of the goal among them; looked for at every tenth step."""
    train, now, count, step = RECIPE.train, [0.0], 0, 10 * RECIPE.train.batch_size
    every_s = 60 * train.watch_minutes
    cadence = Cadence(step, images_between_points(train), every_s, lambda: now[0], apart=POINTS_APART)
    for seen in range(step, IMAGES + 1, step):
        now[0] = seen / images_per_s
        if cadence.is_due(seen):
            cadence.restart(seen)
            count += 1
    return count


def test_the_disk_for_points() -> None:
    with torch.device("meta"):
        network = UNet(RECIPE.train.unet(32, 3), seed=None)
    copy = 4 * sum(weight.numel() for weight in network.parameters())
    rate = figure("train: batch 128, bfloat16", "images per s")
    fast, slow = points_at(rate), points_at(IMAGES / (14 * 24 * HOUR_S))
    for said in (
        f"three times {copy / 1e6:.0f} MB for the CIFAR-10 network",
        f"At the {rate:.0f} images/s of the first row the recipe comes by {fast} points, "
        f"{fast * 3 * copy / 1e9:.1f} GB in all",
        f"one that takes two weeks by {slow} points, {slow * 3 * copy / 1e9:.1f} GB",
    ):
        assert said in PROSE


@pytest.mark.parametrize("stage", ["train", "sample", "evaluate"])
def test_mps_is_refused_in_one_line(stage: str) -> None:
    assert "`mps`, the GPU of a Mac, is not supported" in PROSE
    with pytest.raises(ConfigError) as refused:
        load_config("digits", None, [f"{stage}.device=mps"])
    line = str(refused.value)
    assert "\n" not in line
    assert all(part in line for part in (f"{stage}.device", "'cpu'", "'cuda'", "mps"))
