"""Images that are no squares, and images with opacity, from the source to the report, export and score."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flows.cli import run_command
from flows.run import open_run
from tests.tiny import TINY

# Height, width, channels, and an extractor that sees them.
SHAPES = {"wide": (8, 16, 3, "pixels"), "tall sprites": (16, 8, 4, "pixels"), "sprites": (8, 8, 4, "classifier")}


def pictures(folder: Path, height: int, width: int, channels: int) -> Path:
    """Two classes of files of that shape; the corners of sprites are transparent."""
    generator = np.random.default_rng(0)
    for number in range(64):
        pixels = generator.integers(
            128 * (number % 2), 128 + 128 * (number % 2), (height, width, channels), dtype=np.uint8
        )
        if channels == 4:
            pixels[:2, :2, 3], pixels[3:5, 3:5, 3] = 0, 255
        place = folder / ("train" if number // 2 % 4 else "test") / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=[] if shape == "tall sprites" else pytest.mark.slow) for shape in SHAPES]
)
def test_the_whole_pipeline(tmp_path: Path, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    height, width, channels, extractor = SHAPES[shape]
    source, root = pictures(tmp_path / "images", height, width, channels), str(tmp_path / "root")
    settings = [
        *TINY,
        "train.images=128",
        "train.attention_resolutions=[4]",
        "train.channel_mults=[1, 2]",
        "train.num_res_blocks=1",
        f"evaluate.extractor={extractor}",
        f"prepare.source={source}",
        f"prepare.image_size=[{height}, {width}]",
        f"prepare.channels={channels}",
    ]
    options = ["--root", root, "--in-process", "--no-tracking"]
    assert run_command(["run", "folder", *_set(settings), "--name", "shapes", *options]) == 0, capsys.readouterr().err
    run = open_run("shapes", root)
    assert run.dataset.image_shape == (channels, height, width)
    assert run.images("samples")[0].shape == (24, channels, height, width)
    assert run.network().network.config.image_shape == (channels, height, width)
    (report,) = Path(root).glob("reports/shapes*/report.html")
    assert f"{height}×{width}×{channels}" in report.read_text()
    (grid,) = report.parent.glob("samples.png")
    assert Image.open(grid).mode == "RGB"

    out = tmp_path / "out"
    for to, name in (("diffusers", "network"), ("png", "png"), ("npz", "samples.npz")):
        command = ["export", run.name, str(out / name), "--to", to, "--root", root]
        assert run_command(command) == 0, capsys.readouterr().err
    sample_size = json.loads((out / "network" / "unet" / "config.json").read_text())["sample_size"]
    assert sample_size == (height if height == width else [height, width])
    assert next(iter(Image.open(one) for one in (out / "png").rglob("*.png"))).size == (width, height)
    exported: NDArray[np.uint8] = np.load(out / "samples.npz")["arr_0"]
    assert exported.shape == (24, height, width, 3)
    assert run_command(["score", run.name, str(source), "--root", root, "--in-process"]) == 0, capsys.readouterr().err


def _set(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
