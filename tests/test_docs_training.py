"""docs/training.md: its metrics, warnings and numbers are those of the code."""

import re
from pathlib import Path

import torch
from rich.console import Console

from docs.reference import part_names
from flows.health import warnings
from flows.points import Point, PointFigures
from flows.recipe.presets.table import preset
from flows.runtime.progress import StageProgress
from flows.stage import Progress
from flows.stages.train.config import TrainConfig
from flows.stages.train.saver import PATIENCE_S
from flows.stages.train.watch.measurement import GRID_IMAGES, LOSS_TIMESTEPS
from tests.conftest import TinyRun

PAGE = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def metrics(heading: str) -> set[str]:
    """The metrics of a section's table, without their stage; a range of quarters counts as all of them."""
    names = {
        name
        for cell in re.findall(r"^\| (`train/.*?) \|", section(heading), re.MULTILINE)
        for name in re.findall(r"`train/(\w+)`", cell)
    }
    return names | {f"loss_quarter_{number}" for number in range(1, 5)} if "loss_quarter_1" in names else names


def test_the_curves_are_the_columns_of_the_history(tiny_run: TinyRun) -> None:
    history = tiny_run.snapshot.manifest(tiny_run.store).facts["history"]
    columns = set(history[0]) - {"images_seen", "time_ms"}
    assert metrics("Curves") == columns


def figures(loss: float = 0.1) -> PointFigures:
    values = {"loss": loss, "loss_stderr": 0.01, "bits_per_dim": 4.0, "bits_per_dim_stderr": 0.1, "fd_pixels": 1.0}
    return PointFigures(split="test", images=4, **values)


def test_the_figures_of_a_point_are_its_curves() -> None:
    curves = {name for name in figures().curves() if not name.endswith("_stderr")}
    assert metrics("Points along the way") == curves
    assert f"draws {GRID_IMAGES} pictures from the same noise" in PROSE
    assert LOSS_TIMESTEPS == 10
    assert "L_simple at ten fixed timesteps" in PROSE


def row(images: int, **columns: float) -> dict[str, float]:
    return {
        "images_seen": images,
        "loss": 0.1 / images,
        "grad_norm": 1.0,
        "data_share": 0.0,
        "skipped_steps": 0,
    } | columns


def test_each_warning_of_the_page_is_given() -> None:
    starved = [row(number, data_share=0.5) for number in range(1, 6)]
    points = [
        Point(images_seen=n, file="", sha256="", bytes=0, figures=figures(loss)) for n, loss in ((2, 0.1), (4, 0.2))
    ]
    losses = {2: torch.tensor([0.1, 0.1, 0.1, 0.1001]), 4: torch.tensor([0.2, 0.2, 0.2, 0.2001])}
    given = [
        *warnings([row(1, skipped_steps=1)], [], {}),
        *warnings(starved, [], {}),
        *warnings([row(number) for number in range(1, 5)], points, losses),
    ]
    named = re.findall(r"^\| (T\w+ [\w ]+) \|", section("Warnings"), re.MULTILINE)
    assert [one.partition(":")[0] for one in given] == named


def test_the_line_of_the_bar_is_what_the_bar_shows() -> None:
    lines: list[str] = []
    with StageProgress(Console(quiet=True), None, lines.append, line_s=0.0) as shown:
        shown("train", Progress(done=0, total=89_600))
        shown("train", Progress(done=38_400, total=89_600, loss=0.11, rate=823.0))
    assert lines[-1].removeprefix("train ") in PAGE


def test_the_numbers() -> None:
    config, digits = TrainConfig(), preset("digits").train
    assert f"`train.checkpoint_minutes` ({config.checkpoint_minutes:.0f} minutes)" in PROSE
    assert f"`train.watch_share` ({config.watch_share})" in PROSE
    assert f"goes on from the {digits.images:,} images" in PROSE
    assert f"train.images={digits.images // 2}" in PROSE
    assert digits.images // 2 % digits.batch_size == 0
    assert PATIENCE_S == 600
    assert "away for up to ten minutes" in PROSE
    assert "preset list" in part_names(PAGE)
