"""Bad images and directories: one line that names the file, and nothing half-made."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.flows.stages.prepare.command import CONFIG, INPUT, assert_nothing_half_made, assert_one_line, run


def png(size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, format="PNG")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="JPEG")
    return buffer.getvalue()


BAD_FILES = {
    "empty": ("a.png", b"", "a.png"),
    "text": ("a.png", b"not an image at all", "is no image of the formats PNG, JPEG"),
    "truncated PNG": ("a.png", png((64, 64))[:60], "a.png"),
    "truncated JPEG": ("a.jpg", jpeg()[:-200], "cannot be decoded"),
    "a GIF cut short": ("a.png", b"GIF89a" + bytes(30), "a.png"),
    "an icon in disguise": ("a.png", b"\0\0\1\0" + bytes(30), "is no image of the formats PNG, JPEG"),
    "a PNG that claims to be huge": (
        "a.png",
        png()[:16] + (100_000).to_bytes(4, "big") * 2 + png()[24:],
        "a.png",
    ),
    "an executable": ("a.webp", b"\x7fELF" + bytes(60), "is no image of the formats PNG, JPEG"),
    "a name with a line break": ("a\nb.png", b"junk", "a b.png"),
}


@pytest.mark.parametrize(("name", "data", "says"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_images(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, says: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        (folder / f"good-{number}.png").write_bytes(png((8 + number, 9)))
    (folder / name).write_bytes(data)
    root = tmp_path / "root"
    assert run(root, "prepare", "folder", "--set", f"prepare.source={folder}") == INPUT
    assert_one_line(capsys, says)
    assert_nothing_half_made(root)


def test_what_is_quarantined_is_told_where_it_is_too_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        (folder / f"good-{number}.png").write_bytes(png((8 + number, 9)))
    for name, data, _ in list(BAD_FILES.values())[:3]:
        (folder / f"{len(data)}-{name}").write_bytes(data)
    root, given = tmp_path / "root", ["--set", f"prepare.source={folder}", "--set", "prepare.on_bad_image=quarantine"]
    assert run(root, "prepare", "folder", *given) == INPUT
    assert_one_line(capsys, "3 of 43 images are bad (0-a.png: ")
    assert_nothing_half_made(root)
    assert run(root, "prepare", "folder", *given, "--set", "prepare.max_bad_fraction=0.1") == 0


SOURCES = {
    "not set": ("", "prepare.source"),
    "missing": ("nowhere", "is not there"),
    "empty": ("empty", "holds no images"),
    "no image files": ("texts", "holds no images (left out: 1 .txt)"),
    "a glob that matches nothing": ("texts/*.png", "*.png: matches nothing"),
    "a class folder link to nowhere": ("dangling", "is a link to nothing"),
}


@pytest.mark.parametrize(("name", "says"), SOURCES.values(), ids=SOURCES.keys())
def test_bad_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, says: str) -> None:
    for folder in ("empty", "texts", "dangling"):
        (tmp_path / folder).mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    (tmp_path / "dangling" / "a.png").symlink_to(tmp_path / "gone.png")
    root = tmp_path / "root"
    source = str(tmp_path / name) if name else ""
    assert run(root, "prepare", "folder", "--set", f"prepare.source={source}") == INPUT
    assert_one_line(capsys, says)
    assert_nothing_half_made(root)


@pytest.mark.parametrize(
    ("sources", "says"),
    [(("train*", "tset*"), "tset*: matches nothing"), (("train", "test", "empty"), "empty: holds nothing")],
)
def test_a_list_of_which_one_gives_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sources: tuple[str, ...], says: str
) -> None:
    for name in ("train/a.png", "train/b.png", "test/a.png", "test/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "empty").mkdir()
    source = json.dumps([str(tmp_path / source) for source in sources])
    assert run(tmp_path / "root", "prepare", "folder", "--set", f"prepare.source={source}") == INPUT
    assert_one_line(capsys, says)


def test_two_folders_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a/images", "b/images"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.png").write_bytes(png())
    source = json.dumps([str(tmp_path / folder) for folder in ("a/images", "b/images")])
    assert run(tmp_path / "root", "prepare", "folder", "--set", f"prepare.source={source}") == INPUT
    assert_one_line(capsys, "is called like, another source")
    assert_nothing_half_made(tmp_path / "root")


PLACES = {
    "another scheme": ("gs://bucket/x", "only local folders and S3"),
    "a password": ("s3://key:secret@bucket/x", "user name or a password"),
    "no bucket": ("s3://", "bucket name"),
    "no home": ("~no-such-user/x", "no such home folder"),
    "an empty path in a list": ('["a", ""]', "must be paths of 1 to 4096 characters"),
    "a number": ("5", "prepare.source"),
}


@pytest.mark.parametrize(("source", "says"), PLACES.values(), ids=PLACES.keys())
def test_what_is_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, says: str) -> None:
    assert run(tmp_path / "root", "prepare", "folder", "--set", f"prepare.source={source}") == CONFIG
    assert_one_line(capsys, says)
    assert_nothing_half_made(tmp_path / "root")
