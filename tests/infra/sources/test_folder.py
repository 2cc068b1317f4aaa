"""Any directory of images: every one of them read or named, none left out in silence."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.errors import InputError, IntegrityError
from infra.sources.folder import FolderSource
from infra.sources.source import NO_LABEL
from infra.store import sha256
from tests.oracles.pictures import encoded, picture


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
