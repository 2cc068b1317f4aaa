"""The rules of docs/datasets.md are those of the code."""

import re
from pathlib import Path

import pytest

from flows.cli import run_command
from infra.sources.listing.folders import split_of_folder
from infra.sources.recognition import recognition
from infra.sources.shape import Shape
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture
from tests.test_docs import TOP, prose


@pytest.mark.parametrize("name", ["Training", "val2017", "train", "test"])
def test_folders_that_give_a_split_as_documented(name: str) -> None:
    assert f"`{name}`" in prose("docs/datasets.md")
    assert split_of_folder(name)


def test_the_steps_from_an_image_to_pixels_are_those_of_the_rule() -> None:
    text = prose("docs/datasets.md")
    for rule in (Shape(height=8, width=8, channels=3).rule, text[text.index("1. The EXIF") :]):
        places = [rule.lower().index(word) for word in ("exif", "transparen", "257", "centred square", "resized")]
        assert places == sorted(places)


def photos() -> dict[str, bytes]:
    """The folder of the page: 60 photos of cats and dogs in splits, one of them cut short, and a text."""
    files = {"notes.txt": b"x"}
    for n in range(60):
        image = picture(n // 10, (60, 80) if n % 20 == 0 else (96, 72) if n % 3 else (200, 150))
        name = f"{'test' if n % 5 == 0 else 'train'}/{('cat', 'dog')[n % 2]}/{n:04}.jpg"
        files[name] = encoded(image.rotate(n), "JPEG")
    files["train/cat/0006.jpg"] = files["train/cat/0006.jpg"][:600]
    return files


def test_the_first_look_is_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (TOP / "docs/datasets.md").read_text()
    shown = re.search(r"<!-- inspection -->\n```\n(.*?)\n```\n<!-- end of inspection -->", page, re.DOTALL)
    assert shown
    laid(tmp_path / "photos", photos())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DDPM_ROOT", raising=False)
    assert run_command(["inspect", "photos", "--set", "prepare.image_size=64"]) == 0
    said = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert said == shown[1].splitlines()


def test_the_bounds_of_telling_a_kind_are_as_stated() -> None:
    assert (recognition.MOST_FILES, recognition._MOST_HEADS, recognition._TIMES) == (10_000, 64, 10)
    text = prose("docs/datasets.md")
    assert "the first 10,000 files, a few kilobytes of 64 of them at most" in text
    assert "ten times the bytes of all others together, or, of image files, ten times their number" in text
