"""Any directory of images: every one of them read or named, none left out in silence."""

import io
import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.errors import InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.source import Entry, Other
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(picture(number)))


def opened(*roots: Path) -> FolderSource:
    return FolderSource(FileSet(tuple(map(str, roots))))


def entries(source: FolderSource) -> list[Entry]:
    return placed(source)


def names(*roots: Path) -> list[str]:
    return [entry.name for entry in entries(opened(*roots))]


def decoded(source: FolderSource, entry: Entry) -> Image.Image:
    (content,) = source.read([entry])
    assert isinstance(content, bytes)
    return source.decode(entry, content)


class TestFinding:
    def test_names_are_sorted_and_contents_are_the_bytes(self, tmp_path: Path) -> None:
        put(tmp_path, "b.png", "a/z.png", "a.png", "B.png", "10.png", "2.png")
        source = opened(tmp_path)
        found = entries(source)
        assert [e.name for e in found] == sorted(["b.png", "a/z.png", "a.png", "B.png", "10.png", "2.png"])
        assert list(source.read(found)) == [(tmp_path / e.name).read_bytes() for e in found]
        assert [(e.file, e.size) for e in found] == [(e.name, (tmp_path / e.name).stat().st_size) for e in found]

    def test_suffixes_in_either_case_and_all_else_is_told(self, tmp_path: Path) -> None:
        for name, kind in {"a.PNG": "PNG", "b.jpg": "JPEG", "c.JPEG": "JPEG", "d.WebP": "WEBP"}.items():
            (tmp_path / name).write_bytes(encoded(picture(), kind))
        others = ["e.tga", "f.tiffs", "g", "h.png.bak", "notes.txt", "table.csv"]
        put(tmp_path, *others)
        source = opened(tmp_path)
        assert [decoded(source, entry).size for entry in entries(source)] == [(8, 8)] * 4
        assert names(tmp_path) == ["a.PNG", "b.jpg", "c.JPEG", "d.WebP"]
        assert [found.name for found in source.find() if isinstance(found, Other)] == others

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
        source = opened(tmp_path)
        (entry,) = entries(source)
        assert entry.name == name
        assert np.array_equal(np.asarray(decoded(source, entry)), np.asarray(picture(0)))

    def test_names_that_differ_in_case_or_form_only(self, tmp_path: Path) -> None:
        twins = ["A.png", "a.png", "\u00e9.png", "e\u0301.png"]
        put(tmp_path, *twins)
        assert names(tmp_path) == sorted(twins)

    def test_a_name_that_is_no_unicode_is_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
            file.write(encoded(picture()))
        with pytest.raises(InputError, match="not UTF-8") as caught:
            names(tmp_path)
        assert "caf" in caught.value.item
        str(caught.value).encode()

    def test_it_does_not_matter_where_the_folder_is(self, tmp_path: Path) -> None:
        put(tmp_path / "one", "x/a.png", "y/b.png")
        shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
        one, two = opened(tmp_path / "one"), opened(tmp_path / "elsewhere" / "two")
        assert entries(one) == entries(two), "a copy that keeps the times is the same"

    def test_several_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "cats/a.png", "cats/b.png", "dogs/a.png")
        found = entries(opened(tmp_path / "dogs", tmp_path / "cats"))
        assert [(e.name, e.label) for e in found] == [
            ("dogs/a.png", "dogs"),
            ("cats/a.png", "cats"),
            ("cats/b.png", "cats"),
        ]

    def test_a_glob(self, tmp_path: Path) -> None:
        put(tmp_path, "cat-a.png", "cat-b.jpg", "dog.png", "deep/cat-c.png")
        assert names(tmp_path / "cat*") == ["cat-a.png", "cat-b.jpg"]
        assert names(tmp_path / "**" / "cat*.png") == ["cat-a.png", "deep/cat-c.png"]


class TestClassesAndSplits:
    """A label is the folder's name; whether all of them make classes is the listing's to say."""

    def placed(self, root: Path) -> dict[str, tuple[str, str]]:
        return {entry.name: (entry.split, entry.label) for entry in entries(opened(root))}

    def test_folders_are_labels(self, tmp_path: Path) -> None:
        put(tmp_path, "dog/a.png", "cat/a.png", "loose.png")
        assert self.placed(tmp_path) == {
            "cat/a.png": ("", "cat"),
            "dog/a.png": ("", "dog"),
            "loose.png": ("", ""),
        }

    @pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation", "TEST", "Val"])
    def test_train_and_test(self, tmp_path: Path, held_out: str) -> None:
        put(tmp_path, "train/a.png", "train/b.png", f"{held_out}/c.png")
        found = self.placed(tmp_path)
        assert found["train/a.png"] == ("train", "")
        assert found[f"{held_out}/c.png"] == ("test", "")

    def test_labels_below_the_splits(self, tmp_path: Path) -> None:
        put(tmp_path, "train/dog/a.png", "train/cat/b.png", "test/cat/c.png", "extra/cat/d.png")
        assert self.placed(tmp_path) == {
            "extra/cat/d.png": ("", "extra"),
            "train/cat/b.png": ("train", "cat"),
            "train/dog/a.png": ("train", "dog"),
            "test/cat/c.png": ("test", "cat"),
        }

    def test_a_folder_called_train_among_classes_has_to_be_explained(self, tmp_path: Path) -> None:
        put(tmp_path, "vehicles/train/a.png", "vehicles/bus/b.png")
        with pytest.raises(InputError, match="puts 1 images into train and 1 into neither train nor test"):
            self.placed(tmp_path)
        (tmp_path / "vehicles").rename(tmp_path / "train")
        assert list(self.placed(tmp_path).values()) == [("train", "bus"), ("train", "train")]

    def test_a_file_called_train_is_a_file(self, tmp_path: Path) -> None:
        put(tmp_path, "train.png", "test.png")
        assert self.placed(tmp_path) == {"train.png": ("", ""), "test.png": ("", "")}


class TestReading:
    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_lossless_pixels_are_exact(self, tmp_path: Path, kind: str) -> None:
        image = picture(3, (10, 8))
        (tmp_path / f"a.{kind.lower()}").write_bytes(encoded(image, kind, lossless=True))
        source = opened(tmp_path)
        read = decoded(source, *entries(source))
        assert np.array_equal(np.asarray(read), np.asarray(image))

    def test_jpeg_pixels_are_the_decoders(self, tmp_path: Path) -> None:
        data = encoded(picture(), "JPEG")
        (tmp_path / "a.jpg").write_bytes(data)
        source = opened(tmp_path)
        read = decoded(source, *entries(source))
        assert np.array_equal(np.asarray(read), np.asarray(Image.open(BytesIO(data))))

    def test_a_suffix_need_not_be_the_right_one_of_the_three(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(encoded(picture(), "JPEG"))
        source = opened(tmp_path)
        assert decoded(source, *entries(source)).size == (8, 8)

    def test_several_in_the_order_asked_for(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", "b.png", "c.png")
        source = opened(tmp_path)
        backwards = entries(source)[::-1]
        assert list(source.read(backwards)) == [encoded(picture(number)) for number in (2, 1, 0)]

    def test_a_file_changed_after_it_was_found(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", "b.png")
        source = opened(tmp_path)
        contents = source.read(entries(source))
        (tmp_path / "b.png").write_bytes(encoded(picture(9)))
        os.utime(tmp_path / "b.png", ns=(0, 0))
        assert next(contents) == encoded(picture(0))
        with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
            next(contents)
        assert caught.value.exit_code == 6
        assert caught.value.item == str(tmp_path / "b.png")

    def test_a_file_gone_after_it_was_found(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png")
        source = opened(tmp_path)
        found = entries(source)
        (tmp_path / "a.png").unlink()
        with pytest.raises(IntegrityError, match="changed since it was listed"):
            list(source.read(found))

    def test_a_file_that_may_not_be_read_is_told_in_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root nothing is forbidden, so the system's refusal is played."""
        put(tmp_path, "a.png", "b.png", "c.png")
        source = opened(tmp_path)
        found = entries(source)

        class Guarded(io.FileIO):
            def __init__(self, path: str) -> None:
                if path.endswith("b.png"):
                    raise PermissionError(13, "Permission denied", path)
                super().__init__(path)

        monkeypatch.setattr(io, "FileIO", Guarded)
        a, b, c = source.read(found)
        assert (a, c) == (encoded(picture(0)), encoded(picture(2)))
        assert isinstance(b, InputError)
        assert str(b) == f"{tmp_path / 'b.png'}: cannot be read (Permission denied) - let this user read it"
