"""Files that are no image, or too much of one: named, refused, and never another error."""

import random
import struct
import warnings
import zlib
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources import folder as module
from infra.sources.folder import FolderSource
from infra.sources.source import fit
from tests.oracles.pictures import encoded, picture


def png_that_says(width: int, height: int) -> bytes:
    """A few bytes that promise a huge image: header, one empty data chunk, end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISY = {kind: encoded(picture(0, (64, 64)), kind) for kind in ("PNG", "JPEG", "WEBP")}
BAD = {
    "empty": b"",
    "text": b"This is a text file, not an image.\n" * 20,
    "gif": encoded(picture(), "GIF"),
    "bmp": encoded(picture(), "BMP"),
    "tiff": encoded(picture(), "TIFF"),
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


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bad.png").write_bytes(BAD[kind])
    source = FolderSource(str(tmp_path))
    (item,) = source.list().items
    with pytest.raises(InputError) as caught:
        source.reader()(item)
    assert caught.value.exit_code == 3
    assert caught.value.item == str(tmp_path / "bad.png")
    assert str(caught.value).isprintable()


def test_the_pixel_limit_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PIXELS", 64)
    (tmp_path / "a.png").write_bytes(encoded(picture(0, (8, 8))))
    (tmp_path / "b.png").write_bytes(encoded(picture(0, (13, 5))))
    source = FolderSource(str(tmp_path))
    items, read = source.list().items, source.reader()
    read(items[0])
    with pytest.raises(InputError, match="13x5 pixels"):
        read(items[1])


def test_the_byte_limit_holds_before_anything_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(InputError, match="larger than 256 MiB"):
        FolderSource(str(tmp_path)).list()


def test_whatever_the_bytes_only_our_error_comes_out(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "a.png"
    source = FolderSource(str(tmp_path))
    outcomes = {"fine": 0, "refused": 0}
    for kind, options in (("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {})):
        whole = encoded(picture(0, (20, 16)), kind, **options)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 5)):
                data[draw.randrange(min(len(data), draw.choice([40, len(data)])))] = draw.randrange(256)
            path.write_bytes(data)
            (item,) = source.list().items
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    fit(source.reader()(item), channels=3, size=8, name=item.name)
                    outcomes["fine"] += 1
                except InputError:
                    outcomes["refused"] += 1
    assert min(outcomes.values()) > 50
