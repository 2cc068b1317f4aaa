"""The section along training: its numbers are those that were sealed, its strip the grids in order."""

import csv
from dataclasses import replace
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from flows.points import Point, PointFigures
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.plots import Plot
from flows.stages.report.sections import render_page
from flows.stages.report.training import ALONG_PLOTS, Along, read_along, strip, training_plots
from infra.digests import sha256
from infra.outputs.tensors import encode_tensors
from tests.conftest import TinyRun

HISTORY = [
    {
        "images_seen": seen,
        "loss": 10 / seen,
        "grad_norm": 2.0,
        "learning_rate": 1e-3,
        "images_per_second": 99.0,
        "loss_quarter_1": 0.5,
        "loss_quarter_2": None,
        "loss_quarter_3": 0.3,
        "loss_quarter_4": 0.1,
    }
    for seen in (10, 20, 30, 40)
]


def figures(loss: float, **more: Any) -> PointFigures:
    return PointFigures(
        split="test", images=4, timesteps=[1, 3], loss=loss, loss_stderr=0.01, bits_per_dim=loss * 10, **more
    )


def point(images_seen: int, loss: float, **more: Any) -> Point:
    return Point(images_seen=images_seen, file="f", sha256="d", bytes=1, figures=figures(loss, **more))


def along(*points: Point, **more: Any) -> Along:
    values: dict[str, Any] = {"grids": None, "shown": [], "warnings": [], "best": None}
    return Along(points=points, **values | more)


def table(plot: Plot) -> list[list[str]]:
    Image.open(BytesIO(plot.png)).load()
    return list(csv.reader(StringIO(plot.csv.decode())))


def test_the_numbers_of_the_plots() -> None:
    measured = along(point(20, 0.5), point(40, 0.4, samples=32, fd_pixels=3.5, fd_pixels_stderr=0.1))
    plots = {plot.name: table(plot) for plot in training_plots(HISTORY, measured, "L_simple")}
    assert tuple(plots) == ALONG_PLOTS
    assert plots["held_out_loss"] == [
        ["images seen", "L_simple, training", "L_simple, held-out images", "L_simple, held-out images standard_error"],
        ["10", "1.0", "", ""],
        ["20", "0.5", "0.5", "0.01"],
        ["30", "0.3333333333333333", "", ""],
        ["40", "0.25", "0.4", "0.01"],
    ]
    assert plots["bits_per_dim_estimate"][1:] == [["20", "5.0", "0.0"], ["40", "4.0", "0.0"]]
    assert plots["fd_pixels_along"][1:] == [["40", "3.5", "0.1"]]
    assert plots["loss_by_quarter"][0] == [
        "images seen",
        "L_simple, smallest t",
        "L_simple, third quarter",
        "L_simple, largest t",
    ]
    assert plots["steps"][1] == ["10", "2.0", "0.001", "99.0"]


def test_another_loss_of_training_is_compared_with_itself() -> None:
    (plot, *_) = training_plots(HISTORY, along(point(20, 0.5, objective=7.0, objective_stderr=0.2)), "the bound loss")
    assert table(plot)[2] == ["20", "0.5", "7.0", "0.2"]


def test_without_points_only_the_history_is_plotted() -> None:
    assert [plot.name for plot in training_plots(HISTORY, along(), "L_simple")] == ["loss_by_quarter", "steps"]
    assert training_plots([{"images_seen": 1, "loss": None}], along(), "L_simple") == []


def test_the_strip_has_a_row_per_image_and_a_column_per_point() -> None:
    grids = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * 40
    png = strip(along(grids=grids, shown=[20, 40]))
    assert png is not None
    picture = np.asarray(Image.open(BytesIO(png)))[:, :, 0]
    assert picture[36::68, 36::68].tolist() == [[0, 120], [40, 160], [80, 200]]
    assert strip(along()) is None


def test_it_reads_what_was_sealed(tiny_run: TinyRun) -> None:
    """Twelve points, of which ten are shown; the held-out loss rises from the second on."""
    manifest = tiny_run.snapshot.manifest(tiny_run.store)
    facts = []
    for number in range(12):
        losses = torch.full((4, 2), 0.5 if number == 0 else 0.1 * number) + 1e-3 * torch.rand(4, 2)
        grid = torch.full((16, 1, 8, 8), number, dtype=torch.uint8)
        data = encode_tensors({"losses": losses, "grid": grid}, {})
        name = f"watch/{number}.safetensors"
        tiny_run.store.put_if_absent(f"{manifest.folder}/{name}", data)
        watch = {"file": name, "sha256": sha256(data), "bytes": len(data)}
        facts.append(replace(point(10 * (number + 1), 0.1 * number + 0.1), watch=watch).as_json())
    history = [{"images_seen": 10 * place, "loss": 1 / place} for place in range(1, 13)]
    sealed = replace(manifest, facts=manifest.facts | {"points": facts, "history": history})
    found = read_along(tiny_run.store, sealed)
    assert len(found.points) == 12
    assert len(found.shown) == 10
    assert (found.shown[0], found.shown[-1]) == (10, 120)
    assert found.grids is not None
    assert [int(grid.min()) for grid in found.grids] == [place // 10 - 1 for place in found.shown]
    assert found.best is not None
    assert found.best.images_seen == 10
    assert [line for line in found.warnings if "overfits: from 20 to 30 images" in line]
    tiny_run.store.replace(f"{manifest.folder}/watch/3.safetensors", b"x")
    tiny_run.store.delete(f"{manifest.folder}/watch/0.safetensors")
    left = read_along(tiny_run.store, sealed)
    assert [place for place in left.shown if place in (10, 40)] == []
    assert (left.points, left.best, left.damaged) == (found.points, found.best, [10, 40])
    assert left.warnings == found.warnings
    assert left.remark == "Without the images at 10, 40 images seen, since their files are damaged or missing."


def test_the_page_says_it(tiny_run: TinyRun) -> None:
    outputs = read_outputs(tiny_run.store, tiny_run.finished)
    assert outputs.along is not None
    said = replace(
        outputs, along=replace(outputs.along, warnings=["Training <may> diverge."], best=outputs.along.points[-1])
    )
    page = render_page("a-run", said, draw(said), {})
    assert '<p class="warning">Training &lt;may&gt; diverge.</p>' in page
    assert "The point at 1,280 images has the lowest bound; its name is <code>a-run@best</code>." in page
    last = outputs.along.points[-1].figures
    assert last is not None
    assert f"the same {last.images} held-out images" in page
    assert 'alt="images along training"' in page
    bare = replace(outputs, along=Along(points=[], grids=None, shown=[], warnings=[], best=None))
    page = render_page("a-run", bare, draw(bare), {})
    assert "Along training" in page, "the history has plots"
    assert "was measured on" not in page
    assert "damaged" not in page
