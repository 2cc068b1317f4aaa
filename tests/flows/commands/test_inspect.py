"""`ddpm inspect`: what would become of a source, by which rules, and the command that goes on; nothing is written."""

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.cli import run_command
from infra.storage import s3
from tests.infra.sources.kinds.test_s3_sources import KINDS, npy, parquet, tar
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture
from tests.servers import BUCKET, Server

SMALL = ("--set", "prepare.image_size=8")


def written(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def photos(count: int = 6) -> dict[str, bytes]:
    """Two classes, in splits, with a text beside them."""
    split = {n: "test" if n % 3 == 0 else "train" for n in range(count)}
    images = {f"{split[n]}/{('cat', 'dog')[n % 2]}/{n}.png": encoded(picture(n, (20, 10))) for n in range(count)}
    return images | {"notes.txt": b"x"}


def inspected(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command(["inspect", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    laid(tmp_path / "photos", photos())
    monkeypatch.chdir(tmp_path)
    before = written(tmp_path)
    assert run_command(["inspect", "photos", *SMALL]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    said = dict(line.split(maxsplit=1) for line in lines if len(line.split(maxsplit=1)) == 2)
    assert said["kind"] == "folder: 6 image files"
    assert said["images"] == "6 found, 6 of them looked at"
    assert said["splits"] == "from folders train and test (prepare.use_splits): 4 train, 2 test"
    assert said["classes"] == "2 classes from folder names: cat, dog"
    assert said["left"] == "out  other files not read (1 .txt)"
    assert said["formats"] == "PNG RGB (6)"
    assert said["sizes"] == "20x10 (6)"
    assert said["become"].startswith("8x8x3: EXIF orientation applied;")
    assert [said[name].split() for name in ("class", "cat", "dog")] == [["train", "test"], ["2", "1"], ["2", "1"]]
    assert "--set prepare.use_splits=false         take no splits from the source" in lines
    assert lines[-1] == "ddpm run folder --set prepare.source=photos --set prepare.image_size=8"
    assert written(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    laid(tmp_path, KINDS[kind][1])
    found = inspected(capsys, tmp_path, *SMALL)
    assert found["kind"] == kind
    assert found["images"] == found["sample"]["images"] >= 5
    named = inspected(capsys, tmp_path, *SMALL, "--set", f"prepare.kind={kind}")
    assert (named["kind"], named["kind_from"]) == (kind, "")


FILES = {
    "a tar.gz alone": ("photos.tar.gz", gzip.compress(tar()), "tar"),
    "a wrong suffix": ("photos.dat", tar(), "tar"),
    "Parquet": ("x.parquet", parquet(), "parquet"),
    "NumPy": ("x.npy", npy(), "arrays"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file, data, kind = FILES[name]
    laid(tmp_path, {file: data})
    assert inspected(capsys, tmp_path / file)["kind"] == kind


def test_on_s3(moto: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    for name, data in photos().items():
        s3.put_if_absent(BUCKET, f"inspected/photos/{name}", data)
    found = inspected(capsys, f"s3://{BUCKET}/inspected/")
    assert found["classes"] == {"cat": {"train": 2, "test": 1}, "dog": {"train": 2, "test": 1}}
    assert found["sample"]["images"] == 6


def test_a_picture_as_training_sees_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laid(tmp_path / "photos", {f"{n}.png": encoded(Image.new("RGB", (30, 20), (250, 0, 0))) for n in range(4)})
    file = tmp_path / "look.png"
    assert run_command(["inspect", str(tmp_path / "photos"), *SMALL, "--picture", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    with Image.open(file) as drawn:
        pixels = np.asarray(drawn)
    assert pixels.shape == (2 * (64 + 4) + 4, 2 * (64 + 4) + 4, 3), "four images of 8 pixels, enlarged to 64"
    assert pixels[10, 10].tolist() == [250, 0, 0]


def test_what_is_wrong_is_said_with_the_setting_that_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = {f"{n}.png": encoded(picture(n, (64, 64)).convert("L")) for n in range(5)}
    laid(
        tmp_path, grey | {"again.png": grey["0.png"], "broken.png": grey["1.png"][:99], "tiny.png": encoded(picture())}
    )
    found = inspected(capsys, tmp_path)
    bad, small, repeated = found["warnings"]
    assert bad.startswith("1 of the sample: cannot be read, which ends the run (broken.png: cannot be decoded")
    assert small == "1 of the sample: smaller than 32 pixels, so enlarged"
    assert repeated == "1 of the sample: byte for byte another one"
    assert found["settings"].keys() == {
        "prepare.holdout=0",
        "prepare.image_size=64",
        "prepare.on_bad_image=quarantine",
        "prepare.drop_duplicates=true",
        "prepare.min_side=32",
    }
    changed = inspected(capsys, tmp_path, *(word for text in found["settings"] for word in ("--set", text)))
    assert changed["settings"] == {}
    assert changed["left_out"] == ["1 of the sample (too small)"]
    assert "goes into quarantine" in changed["warnings"][0]
    (tmp_path / "tiny.png").unlink()
    assert "prepare.channels=1" in inspected(capsys, tmp_path)["settings"], "all that is left is grey"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 3, "prepare.source: is not set"),
        (("nothing",), 3, "is not there"),
        (("mixed",), 3, "set prepare.kind to tar or zip"),
        (("texts",), 3, "holds no images (left out: 1 .txt) of any kind (image files, CIFAR files"),
        (("photos", "--picture", "no/such.png"), 2, "make the folder"),
        (("broken", "--picture", "x.png"), 3, "no image of the sample can be read"),
        (("photos", "--set", "prepare.kind=rar"), 2, "prepare.kind"),
    ],
)
def test_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    laid(tmp_path / "photos", photos())
    laid(tmp_path / "texts", {"a.txt": b"x"})
    laid(tmp_path / "mixed", {"a.tar": tar(), "b.zip": KINDS["zip"][1]["a.zip"]})
    laid(tmp_path / "broken", {"a.png": b"x"})
    monkeypatch.chdir(tmp_path)
    assert run_command(["inspect", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "x.png").exists()


def test_the_command_that_goes_on_is_one(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also if the usual root would lie in the source, and if there are several sources."""
    for folder in ("a b", "c"):
        laid(tmp_path / folder, {f"{folder}{n}.png": encoded(picture(n + len(folder) * 20)) for n in range(9)})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DDPM_ROOT", raising=False)
    (tmp_path / "own.toml").write_text("[prepare]\nimage_size = 8\n")
    several = inspected(capsys, "a b", "c", "--config", "own.toml", "--set", "prepare.channels=1")["command"]
    assert shlex.split(several)[1:] == [
        *(
            "run",
            "folder",
            "--config",
            "own.toml",
            "--set",
            'prepare.source=["a b", "c"]',
            "--set",
            "prepare.channels=1",
        )
    ]
    inside = inspected(capsys, ".")["command"]
    assert inside == "ddpm run folder --set prepare.source=. --root ELSEWHERE"
    for command in (several, inside):
        words = ["prepare" if word == "run" else word for word in shlex.split(command)[1:]]
        words += ["--root", str(tmp_path_factory.mktemp("root"))]
        assert run_command([*words, "--in-process", "--no-tracking", "--set", "prepare.holdout=0.4"]) == 0
