"""`ddpm export` and `ddpm import`: one line when done, one line and an exit code when refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.artifacts import number_text
from flows.cli import run_command
from flows.exchange import png_folder
from flows.run import open_run
from flows.run_record import RunRecord
from infra.digests import sha256
from infra.errors import Interrupted
from tests.conftest import TinyRun
from tests.flows.conftest import NAME
from tests.flows.exchange.diffusers_folders import change, settings, write_snapshot
from tests.flows.stored_averages import sealed_walk


def test_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snapshot(tmp_path / "a.safetensors", num_classes=4)
    snapshot, folder, back = (str(tmp_path / name) for name in ("a.safetensors", "folder", "b.safetensors"))
    about = "3x8x8, 4 classes (guidance takes the last for no label), T = 20, fixed_small variance"
    assert run_command(["export", snapshot, folder, "--variance", "fixed_small"]) == 0
    assert capsys.readouterr().out == f"{folder}  {about}\n"
    assert settings(tmp_path / "folder", "scheduler")["variance_type"] == "fixed_small"
    assert run_command(["import", folder, back]) == 0
    assert capsys.readouterr().out == f"{back}  {about}\n"
    assert Path(back).read_bytes() == Path(snapshot).read_bytes()

    assert run_command(["export", snapshot, folder, "--variance", "fixed_small"]) == 0
    assert capsys.readouterr().out == f"{folder}  {about}; already there, nothing was written\n"
    assert run_command(["export", snapshot, folder]) == 2
    assert capsys.readouterr().err == f"ddpm: {folder}: is there already - choose another name, or remove it\n"


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snapshot(tmp_path / "a")
    folder, new = tmp_path / "folder", str(tmp_path / "new")
    assert run_command(["export", str(tmp_path / "a"), str(folder)]) == 0
    capsys.readouterr()
    change(folder, "unet", act_fn="gelu")
    (tmp_path / "text").write_text("text")
    for arguments, code, line in (
        (["import", str(folder), new], 2, f'{folder}/unet/config.json: act_fn is "gelu"; we can represent "silu" only'),
        (["import", new, str(tmp_path / "b")], 3, f"{new}: is not a folder - download the pipeline, then give its"),
        (["export", str(tmp_path / "none"), new], 3, f"{tmp_path}/none: cannot be read (No such file or directory)"),
        (["export", str(tmp_path / "text"), new], 6, f"{tmp_path}/text: is not a safetensors file of ours"),
        (["export", str(tmp_path / "a"), new, "--variance", "learned"], 2, "Invalid value for '--variance'"),
        (["import", str(folder)], 2, "Missing argument"),
        (["export", "run-1a2b3c4d", new], 2, "--to: a run holds images and a network - choose one of png, tar, npz, d"),
        (["export", str(tmp_path / "a"), new, "--to", "png"], 2, f"{tmp_path}/a: a snapshot file holds no images - gi"),
        (
            ["export", "models:/digits@best", new, "--to", "png"],
            2,
            "models:/digits@best: a network holds no images - gi",
        ),
        (
            ["export", "run@last", new],
            3,
            "run@last: names the point 'last', which is neither `best` nor a number of im",
        ),
        (["export", str(tmp_path / "a"), new, "--limit", "3"], 2, "--limit: has no effect with --to diffusers - leave"),
        (
            ["export", "run", new, "--to", "png", "--variance", "fixed_small"],
            2,
            "--variance: has no effect with --to p",
        ),
        (["export", "run", new, "--to", "gif"], 2, "Invalid value for '--to'"),
        (["export", "run", new, "--to", "png", "--limit", "0"], 2, "Invalid value for '--limit'"),
        (["export", "run", new, "--to", "png", "--root", str(tmp_path)], 3, "run: no finished run of that name below"),
    ):
        assert run_command(arguments) == code
        err = capsys.readouterr().err
        assert err.startswith(f"ddpm: {line}")
        assert err.count("\n") == 1
    assert not Path(new).exists()


def test_a_point_of_a_run(finished: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder, back = str(finished.root), str(tmp_path / "folder"), tmp_path / "back.safetensors"
    point = finished.snapshot.manifest(finished.store).facts["points"][-1]  # which always has figures
    name = f"{NAME}@{point['images_seen']}"
    assert run_command(["export", name, folder, "--root", root]) == 0
    assert run_command(["import", folder, str(back)]) == 0
    assert sha256(back.read_bytes()) == point["sha256"]
    card = (tmp_path / "folder" / "README.md").read_text()
    assert f"# {name}\n" in card
    assert finished.dataset.digest in card
    assert finished.samples.digest not in card, "these are of the end"
    assert "`bits_per_dim_estimate`" in card
    capsys.readouterr()
    assert run_command(["export", name, str(tmp_path / "new"), "--to", "png", "--root", root]) == 2
    assert "a point of training holds no images" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "import"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([command, "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert f"ddpm {command}" in help_text
    assert ("goes on with a folder of PNG files, and begins any other format anew" in help_text) == (
        command == "export"
    )


@pytest.fixture
def rooted(finished: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TinyRun:
    """A finished run where the command line looks for it, and an empty working folder."""
    monkeypatch.setenv("DDPM_ROOT", str(finished.root))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return finished


@pytest.mark.parametrize("split", ["samples", "train", "test"])
def test_images_of_a_run(split: str, rooted: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = open_run(NAME).images(split)  # type: ignore[arg-type]
    command = ["export", "1a2b3c4d", "a.npz", "--to", "npz", *([] if split == "samples" else ["--split", split])]
    assert run_command(command) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"a.npz  {len(images):,} ")
    assert err.startswith(f"   export 0 of {len(images):,} images")
    with np.load("a.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], images.transpose(0, 2, 3, 1).repeat(3, axis=3))
        assert ("arr_1" in arrays) == (split != "samples")
        assert split == "samples" or np.array_equal(arrays["arr_1"], labels)


def test_options_of_images(rooted: TinyRun) -> None:
    assert run_command(["export", NAME, "a.npz", "--to", "npz", "--limit", "7", "--channels", "as-is"]) == 0
    with np.load("a.npz") as arrays:
        assert arrays["arr_0"].shape == (7, 8, 8, 1)


def test_ctrl_c_names_what_is_kept(
    rooted: TinyRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode, calls = png_folder.encode_png, list[int]()

    def interrupted(image: Any) -> bytes:
        calls.append(1)
        if len(calls) > 10:
            raise Interrupted(130)
        return encode(image)

    monkeypatch.setattr(png_folder, "encode_png", interrupted)
    command = ["export", NAME, "out", "--to", "png"]
    assert run_command(command) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        "   export stopped at 10 of 24 images; 10 are kept",
        "ddpm: interrupted; export keeps 10 of 24 images; run the same command to resume",
    ]
    monkeypatch.setattr(png_folder, "encode_png", encode)
    assert run_command(command) == 0
    assert "export resumed at 10 of 24 images" in capsys.readouterr().err
    assert run_command(command) == 0
    assert "already there, nothing was written" in capsys.readouterr().out


def test_the_network_of_a_run(rooted: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", NAME, "net", "--to", "diffusers"]) == 0
    assert run_command(["import", "net", "back.safetensors"]) == 0
    assert Path("back.safetensors").read_bytes() == open_run(NAME).snapshot_file()[0]
    # It steps as the run's samples did, unless another variance is asked for.
    assert rooted.config.sample.variance == settings(Path("net"), "scheduler")["variance_type"] == "fixed_small"
    assert run_command(["export", NAME, "other", "--to", "diffusers", "--variance", "fixed_large"]) == 0
    assert settings(Path("other"), "scheduler")["variance_type"] == "fixed_large"
    card = Path("net/README.md").read_text()
    for digest in (rooted.dataset.digest, rooted.snapshot.digest, rooted.samples.digest, rooted.figures.digest):
        assert digest in card
    for row in open_run(NAME).table():
        assert f"(`{row['name']}`) | {number_text(row['value'], row['standard_error'])}" in card
    assert str(rooted.root) not in card


def test_a_network_of_another_ema_length(tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a snapshot and as a folder: both hold the network that the run rebuilds, and the card says so."""
    walk = sealed_walk(tiny_run)
    RunRecord(name=NAME, finished=replace(tiny_run.finished, snapshot=walk.snapshot)).write(tiny_run.store)
    run = open_run(NAME, tiny_run.root)
    data, item = run.snapshot_file(ema=0.15)
    assert item.endswith(", EMA length 0.15")
    assert data != run.snapshot_file()[0]
    rebuilt, own = run.network(ema=0.15).network.state_dict(), run.network().network.state_dict()
    assert any(not torch.equal(rebuilt[name], own[name]) for name in own)

    file, folder, back = (str(tmp_path / name) for name in ("net.safetensors", "folder", "back.safetensors"))
    root = ["--root", str(tiny_run.root), "--ema", "0.15"]
    assert run_command(["export", NAME, file, "--to", "snapshot", *root]) == 0
    assert Path(file).read_bytes() == data
    assert run_command(["export", NAME, file, "--to", "snapshot", *root]) == 0
    assert capsys.readouterr().out.endswith("already there, nothing was written\n")
    assert run_command(["export", NAME, folder, "--to", "diffusers", *root]) == 0
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "| EMA length (sigma_rel), rebuilt after training | 0.15 |" in card
    assert "half-life" not in card
    assert tiny_run.figures.figures[0].name not in card
    assert run_command(["import", folder, back]) == 0
    assert Path(back).read_bytes() == data


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["net.safetensors", "--ema", "0.1"], 2, "--ema: a snapshot file holds one average - give the name of a run"),
        ([NAME, "--to", "png", "--ema", "0.1"], 2, "--ema: has no effect with --to png"),
        ([NAME, "--to", "snapshot", "--variance", "fixed_small"], 2, "--variance: has no effect with --to snapshot"),
        ([NAME, "--to", "snapshot", "--ema", "0.3"], 2, "EMA length: sigma_rel must be above 0"),
    ],
)
def test_an_ema_length_that_cannot_be_had(
    arguments: list[str], code: int, line: str, finished: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, *options = arguments
    command = ["export", source, str(tmp_path / "out"), *options, "--root", str(finished.root)]
    assert run_command(command) == code
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
