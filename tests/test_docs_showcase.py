"""`make showcase`: it refuses to start without its pictures, and its figures and pictures are the run's own."""

import json
import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs.showcase import figure_table, main, pictures
from flows.pages.pictures import sample_grid
from flows.recipe.presets.table import preset
from flows.run import open_run
from flows.run_record import RunRecord
from tests.conftest import TinyRun

TOP = Path(__file__).parent.parent
FILES = [f"{split}-{kind}" for split in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


@pytest.fixture
def showcase(tiny_run: TinyRun) -> TinyRun:
    """A finished run that is called like that of `make showcase`."""
    RunRecord(name="showcase-1a2b3c4d", finished=tiny_run.finished).write(tiny_run.store)
    return tiny_run


def dry_run(folder: Path) -> "subprocess.CompletedProcess[str]":
    assert shutil.which("make")
    command = ["make", "-n", "showcase", f"SHOWCASE_DATA={folder}"]
    # Below another make, such as that of `make test`, make says which folder it enters and leaves.
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return subprocess.run(command, cwd=TOP, env=own, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", FILES)
def test_without_a_file_it_says_where_to_get_it_and_does_nothing(missing: str, tmp_path: Path) -> None:
    for name in FILES:
        if name != missing:
            (tmp_path / f"{name}.gz").touch()
    done = dry_run(tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"no {missing} in {tmp_path}" in line
    assert "apt-get install dataset-fashion-mnist" in line
    assert "SHOWCASE_DATA=PATH" in line


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_with_all_files_it_is_one_command(suffix: str, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f"{name}{suffix}").touch()
    done = dry_run(tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "ddpm run" in line]
    assert f"ddpm run showcase --name showcase --set 'prepare.source={tmp_path}'" in line


def test_its_folder_is_that_of_the_preset() -> None:
    assert f"SHOWCASE_DATA ?= {preset('showcase').prepare.source}\n" in (TOP / "Makefile").read_text()


def test_the_pictures_are_those_of_the_report(showcase: TinyRun) -> None:
    run = open_run("showcase", showcase.root)
    drawn = pictures(run)
    assert {"samples", "nearest", "denoising", "loss", "bound_by_timestep"} <= drawn.keys()
    assert drawn["samples"] == sample_grid(run.images("samples")[0])
    for name, data in drawn.items():
        with Image.open(BytesIO(data)) as image:
            assert min(image.size) > 30, name


def test_the_figures_are_those_of_the_run(
    showcase: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["showcase", str(showcase.root), "--into", str(tmp_path)])
    main()
    table = capsys.readouterr().out
    measured = json.loads((tmp_path / "showcase.json").read_text())
    assert table.strip() == figure_table(measured)
    assert "| samples | 24 |" in table
    assert "| images trained on, repeats counted | 1,280 |" in table
    for figure in open_run("showcase", showcase.root).table():
        assert f"| `{figure['name']}` | {figure['value']:.4g}" in table
    history = open_run("showcase", showcase.root).manifests["train"].facts["history"]
    images = np.diff([0, *(row["images_seen"] for row in history)])
    seconds = images / np.array([row["images_per_second"] for row in history])
    assert measured["training_minutes"] == pytest.approx(seconds.sum() / 60)
    assert {path.stem for path in (tmp_path / "showcase").iterdir()} >= {"samples", "loss"}


def test_a_run_that_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["showcase", str(tmp_path), "--into", str(tmp_path)])
    with pytest.raises(SystemExit, match="no finished run of that name"):
        main()
    assert not (tmp_path / "showcase.json").exists()


@pytest.mark.parametrize("file", sorted((TOP / "docs").glob("showcase.json")), ids=lambda file: file.stem)
def test_the_published_table_is_that_of_the_measured_run(file: Path) -> None:
    assert figure_table(json.loads(file.read_text())) in (TOP / "benchmarks" / "RESULTS.md").read_text()
