"""Files that are no image, or too much of one: named, refused, and never another error."""

import random
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.fit import fit
from infra.sources.image_formats import DECODERS
from infra.sources.kinds.folder import FolderSource
from infra.sources.reading import Reading
from infra.sources.shape import Shape
from infra.sources.source import Entry
from tests.pictures import encoded, picture


def png_that_says(width: int, height: int) -> bytes:
    """A few bytes that promise a huge image: header, one empty data chunk, end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISY = {kind: encoded(picture(0, (64, 64)), kind) for kind in DECODERS}
BAD = {
    "empty": b"",
    "text": b"This is a text file, not an image.\n" * 20,
    "tga": encoded(picture(), "TGA"),
    "ico": encoded(picture(0, (16, 16)), "ICO"),
    "pcx": encoded(picture(), "PCX"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"<!doctype html><title>404</title>",
    "zeros": bytes(1000),
    "png signature only": NOISY["PNG"][:8],
    **{
        f"{kind} cut to {part}/10": data[: len(data) * part // 10] for kind, data in NOISY.items() for part in (1, 5, 9)
    },
    "png with a wrong checksum": NOISY["PNG"][:60] + b"\xff\xff\xff" + NOISY["PNG"][63:],
    "bomb over Pillow's limit": png_that_says(60_000, 60_000),
    "bomb over ours": png_that_says(8_001, 8_000),
    "wide bomb": png_that_says(2_000_000_000, 1),
}


def opened(folder: Path) -> tuple[FolderSource, list[Entry]]:
    source = FolderSource(FileSet((str(folder),)))
    return source, [entry for entry in source.find() if isinstance(entry, Entry)]


def decoded(source: FolderSource, entry: Entry) -> Image.Image:
    (content,) = source.read([entry])
    assert isinstance(content, bytes)
    return source.decode(entry, content)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bad.png").write_bytes(BAD[kind])
    source, (entry,) = opened(tmp_path)
    with pytest.raises(InputError) as caught:
        decoded(source, entry)
    assert caught.value.exit_code == 3
    assert caught.value.item == str(tmp_path / "bad.png")
    assert str(caught.value).isprintable()


def test_the_pixel_limit_is_exact(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(0, (8, 8))))
    (tmp_path / "b.png").write_bytes(encoded(picture(0, (13, 5))))
    _, (small, large) = opened(tmp_path)
    source = FolderSource(FileSet((str(tmp_path),)), Reading(max_pixels=64))
    assert decoded(source, small).size == (8, 8)
    with pytest.raises(InputError, match="13x5 pixels"):
        decoded(source, large)


def test_the_byte_limit_holds_before_anything_is_read(tmp_path: Path) -> None:
    """It is one bad file among others: those behind it are read."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    (tmp_path / "small.png").write_bytes(NOISY["PNG"])
    source, entries = opened(tmp_path)
    huge, small = source.read(entries)
    assert isinstance(huge, InputError)
    assert "larger than 256 MiB" in str(huge)
    assert huge.item == str(tmp_path / "huge.png")
    assert small == NOISY["PNG"]


def test_the_reason_is_the_same_each_time(tmp_path: Path) -> None:
    """It is stored with what a run set aside, so no address of memory and no folder may be in it."""
    for kind, data in BAD.items():
        reasons = set()
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "bad.png").write_bytes(data)
            source, (entry,) = opened(tmp_path / folder)
            with pytest.raises(InputError) as caught:
                decoded(source, entry)
            reasons.add(caught.value.cause)
        assert len(reasons) == 1, kind
        assert "0x" not in reasons.pop()


def test_whatever_the_bytes_only_our_error_comes_out(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "a.png"
    outcomes = {"fine": 0, "refused": 0}
    for kind, options in (*((decoder, {}) for decoder in DECODERS), ("JPEG", {"progressive": True})):
        whole = encoded(picture(0, (20, 16)), kind, **options)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 5)):
                data[draw.randrange(min(len(data), draw.choice([40, len(data)])))] = draw.randrange(256)
            path.write_bytes(data)
            source, (entry,) = opened(tmp_path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    fit(decoded(source, entry), Shape(height=8, width=8, channels=3), entry.name)
                    outcomes["fine"] += 1
                except InputError:
                    outcomes["refused"] += 1
    assert min(outcomes.values()) > 50
