"""Any directory of images: every one of them read or named, none left out in silence."""

import os
import random
import shutil
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.errors import InputError, IntegrityError
from infra.sources import folder as module
from infra.sources.folder import FolderSource
from infra.sources.source import NO_LABEL, fit
from infra.store import sha256


def picture(seed: int = 0, size: tuple[int, int] = (8, 8)) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(picture(number)))


def names(root: Path) -> list[str]:
    return [item.name for item in FolderSource(str(root)).list().items]


class TestListing:
    def test_names_are_sorted_and_digests_are_of_the_bytes(self, tmp_path: Path) -> None:
        put(tmp_path, "b.png", "a/z.png", "a.png", "B.png", "10.png", "2.png")
        items = FolderSource(str(tmp_path)).list().items
        assert [i.name for i in items] == sorted(["b.png", "a/z.png", "a.png", "B.png", "10.png", "2.png"])
        assert all(i.digest == sha256((tmp_path / i.name).read_bytes()) for i in items)

    def test_the_three_formats_in_either_case(self, tmp_path: Path) -> None:
        for name, kind in {"a.PNG": "PNG", "b.jpg": "JPEG", "c.JPEG": "JPEG", "d.WebP": "WEBP"}.items():
            (tmp_path / name).write_bytes(encoded(picture(), kind))
        put(tmp_path, "notes.txt", "table.csv", "e.gif", "f.tiff", "g", "h.png.bak")
        source = FolderSource(str(tmp_path))
        items, read = source.list().items, source.reader()
        assert [i.name for i in items] == ["a.PNG", "b.jpg", "c.JPEG", "d.WebP"]
        for item in items:
            assert read(item).size == (8, 8)

    def test_hidden_files_and_folders_are_left_out(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", ".b.png", ".thumbs/c.png", "x/.d.png", "x/.y/e.png", "x/f.png", "._g.png")
        assert names(tmp_path) == ["a.png", "x/f.png"]

    def test_a_folder_named_like_an_image_is_a_folder(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png/b.png")
        assert names(tmp_path) == ["a.png/b.png"]

    @pytest.mark.parametrize(
        "name",
        [
            "with space.png",
            "ümläut ☃ 日本.png",
            "new\nline.png",
            "tab\tand\rreturn.png",
            "quote\"s'.png",
            "back\\slash.png",
            "-dash.png",
            "star*?[x].png",
            "$(HOME).png",
            "%2e%2e.png",
            "e\u0301.png",
            "x" * 240 + ".png",
            "folder with\nnewline/ü .png",
            "\x1b[31m.png",
        ],
    )
    def test_unusual_names_are_kept(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, name)
        source = FolderSource(str(tmp_path))
        (item,) = source.list().items
        assert item.name == name
        assert np.array_equal(np.asarray(source.reader()(item)), np.asarray(picture(0)))

    def test_names_that_differ_in_case_or_form_only(self, tmp_path: Path) -> None:
        twins = ["A.png", "a.png", "\u00e9.png", "e\u0301.png"]
        put(tmp_path, *twins)
        assert names(tmp_path) == sorted(twins)

    def test_a_name_that_is_no_unicode_is_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
            file.write(encoded(picture()))
        with pytest.raises(InputError, match="not UTF-8") as caught:
            FolderSource(str(tmp_path)).list()
        assert "caf" in caught.value.item
        str(caught.value).encode()

    def test_it_does_not_matter_where_the_folder_is(self, tmp_path: Path) -> None:
        put(tmp_path / "one", "x/a.png", "y/b.png")
        shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
        one, two = FolderSource(str(tmp_path / "one")), FolderSource(str(tmp_path / "elsewhere" / "two"))
        assert one.list() == two.list()


class TestClassesAndSplits:
    def listed(self, root: Path) -> tuple[list[str], dict[str, tuple[str, int]]]:
        listing = FolderSource(str(root)).list()
        return listing.class_names, {i.name: (i.split, i.label) for i in listing.items}

    def test_folders_are_classes(self, tmp_path: Path) -> None:
        put(tmp_path, "dog/a.png", "cat/a.png", "cat/b.png")
        classes, items = self.listed(tmp_path)
        assert classes == ["cat", "dog"]
        assert items == {"cat/a.png": ("", 0), "cat/b.png": ("", 0), "dog/a.png": ("", 1)}

    def test_a_loose_image_takes_the_labels_from_all(self, tmp_path: Path) -> None:
        put(tmp_path, "dog/a.png", "cat/a.png", "loose.png")
        classes, items = self.listed(tmp_path)
        assert classes == []
        assert {label for _, label in items.values()} == {NO_LABEL}

    def test_one_folder_is_no_class(self, tmp_path: Path) -> None:
        put(tmp_path, "images/a.png", "images/b.png")
        classes, items = self.listed(tmp_path)
        assert classes == []
        assert set(items.values()) == {("", NO_LABEL)}

    @pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation", "TEST", "Val"])
    def test_train_and_test(self, tmp_path: Path, held_out: str) -> None:
        put(tmp_path, "train/a.png", "train/b.png", f"{held_out}/c.png")
        classes, items = self.listed(tmp_path)
        assert classes == []
        assert items["train/a.png"] == ("train", NO_LABEL)
        assert items[f"{held_out}/c.png"] == ("test", NO_LABEL)

    def test_classes_below_the_splits(self, tmp_path: Path) -> None:
        put(tmp_path, "train/dog/a.png", "train/cat/b.png", "test/cat/c.png")
        classes, items = self.listed(tmp_path)
        assert classes == ["cat", "dog"]
        assert items == {
            "train/cat/b.png": ("train", 0),
            "train/dog/a.png": ("train", 1),
            "test/cat/c.png": ("test", 0),
        }

    def test_a_class_called_train_deeper_down_is_a_class(self, tmp_path: Path) -> None:
        put(tmp_path, "vehicles/train/a.png", "vehicles/bus/b.png")
        classes, items = self.listed(tmp_path)
        assert classes == ["vehicles/bus", "vehicles/train"]
        assert items["vehicles/train/a.png"] == ("", 1)


class TestReading:
    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_lossless_pixels_are_exact(self, tmp_path: Path, kind: str) -> None:
        image = picture(3, (10, 8))
        (tmp_path / f"a.{kind.lower()}").write_bytes(encoded(image, kind, lossless=True))
        source = FolderSource(str(tmp_path))
        read = source.reader()(source.list().items[0])
        assert np.array_equal(np.asarray(read), np.asarray(image))

    def test_jpeg_pixels_are_the_decoders(self, tmp_path: Path) -> None:
        data = encoded(picture(), "JPEG")
        (tmp_path / "a.jpg").write_bytes(data)
        source = FolderSource(str(tmp_path))
        read = source.reader()(source.list().items[0])
        assert np.array_equal(np.asarray(read), np.asarray(Image.open(BytesIO(data))))

    def test_a_suffix_need_not_be_the_right_one_of_the_three(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(encoded(picture(), "JPEG"))
        source = FolderSource(str(tmp_path))
        assert source.reader()(source.list().items[0]).size == (8, 8)

    def test_a_file_changed_after_it_was_listed(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", "b.png")
        source = FolderSource(str(tmp_path))
        items = source.list().items
        (tmp_path / "b.png").write_bytes(encoded(picture(9)))
        read = source.reader()
        read(items[0])
        with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
            read(items[1])
        assert caught.value.exit_code == 6
        assert caught.value.item == str(tmp_path / "b.png")

    def test_a_file_gone_after_it_was_listed(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        source = FolderSource(str(tmp_path))
        (item,) = source.list().items
        (tmp_path / "a.png").unlink()
        with pytest.raises(InputError, match="No such file"):
            source.reader()(item)


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


class TestBadFolders:
    def test_missing(self) -> None:
        with pytest.raises(InputError, match="is not a directory") as caught:
            FolderSource("/no/such/place").list()
        assert caught.value.exit_code == 3
        assert "prepare.source" in caught.value.remedy

    def test_a_file(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        with pytest.raises(InputError, match="is not a directory"):
            FolderSource(str(tmp_path / "a.png")).list()

    @pytest.mark.parametrize("others", [(), ("notes.txt",), (".hidden.png",), ("x/y.gif",)])
    def test_without_images(self, tmp_path: Path, others: tuple[str, ...]) -> None:
        put(tmp_path, *others)
        with pytest.raises(InputError, match="holds no jpeg, jpg, png, webp files"):
            FolderSource(str(tmp_path)).list()

    def test_a_link_to_nowhere_is_named(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        (tmp_path / "b.png").symlink_to("gone.png")
        with pytest.raises(InputError, match=r"b\.png"):
            FolderSource(str(tmp_path)).list()

    def test_a_pipe_is_named_and_not_waited_for(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        os.mkfifo(tmp_path / "b.png")
        with pytest.raises(InputError, match="is not a file"):
            FolderSource(str(tmp_path)).list()

    def test_a_folder_that_cannot_be_listed_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As root nothing is forbidden, so the system's refusal is played."""
        put(tmp_path, "a.png", "locked/b.png")
        scandir = os.scandir

        def guarded(path: object) -> object:
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(InputError, match="cannot be listed") as caught:
            FolderSource(str(tmp_path)).list()
        assert caught.value.item == str(tmp_path / "locked")
