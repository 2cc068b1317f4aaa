"""Tar archives: the images of a folder, whichever way they are packed, and the labels of WebDataset."""

import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from infra.errors import InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Entry, Other
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture

FOLDER = {
    "train/cat/a.png": encoded(picture(1)),
    "train/cat/b.JPG": encoded(picture(2), "JPEG"),
    "train/dog/" + "long" * 30 + "/c.webp": encoded(picture(3), "WEBP"),
    "test/dog/d é☃.png": encoded(picture(4)),
    "test/.hidden/e.png": b"never seen",
    "test/notes.txt": b"no image",
}


def packed(members: Iterable[tuple[str, bytes]], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    return buffer.getvalue()


def source(path: Path) -> TarSource:
    return TarSource(FileSet((str(path),)))


def images(found: TarSource | ZipSource | FolderSource) -> list[Entry]:
    return placed(found)


def others(found: TarSource | ZipSource) -> list[str]:
    return [other.name for other in found.find() if isinstance(other, Other)]


class TestRoundTrip:
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    @pytest.mark.parametrize(
        ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2")]
    )
    def test_an_archive_holds_what_the_folder_holds(self, tmp_path: Path, suffix: str, mode: str, form: int) -> None:
        for name, content in FOLDER.items():
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(content)
        (tmp_path / f"a.{suffix}").write_bytes(packed(FOLDER.items(), mode, form))
        folder, tar = FolderSource(FileSet((str(tmp_path / "folder"),))), source(tmp_path / f"a.{suffix}")
        expected = {e.name: (e.split, e.label, c) for e, c in zip(*self.read(folder), strict=True)}
        entries, contents = self.read(tar)
        read = {e.name.partition("!")[2]: (e.split, e.label, c) for e, c in zip(entries, contents, strict=True)}
        assert read == expected
        assert len(read) == 4
        assert others(tar) == [f"a.{suffix}!test/notes.txt"]
        assert np.array_equal(np.asarray(tar.decode(entries[0], contents[0])), np.asarray(picture(1)))

    def read(self, found: TarSource | FolderSource) -> tuple[list[Entry], list[object]]:
        entries = images(found)
        return entries, list(found.read(entries))

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_any_consecutive_entries_of_several_archives(self, tmp_path: Path, mode: str) -> None:
        suffix = "tar" if mode == "w" else "tgz"
        for part in range(3):
            members = [(f"{n}.png", f"{part}-{n}".encode() * 700) for n in range(4)]
            (tmp_path / f"{part}.{suffix}").write_bytes(packed(members, mode))
        found = source(tmp_path)
        entries = images(found)
        whole = list(found.read(entries))
        assert whole == [f"{part}-{n}".encode() * 700 for part in range(3) for n in range(4)]
        for start in range(12):
            for end in range(start, 13):
                assert list(found.read(entries[start:end])) == whole[start:end]

    def test_a_listing_survives_json(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(packed(FOLDER.items()))
        for entry in images(source(tmp_path)):
            assert Entry.from_json(entry.as_json()) == entry

    def test_other_files_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(packed([]))
        (tmp_path / "b.tar.xz").write_bytes(b"")
        (tmp_path / "c.zip").write_bytes(b"")
        assert others(source(tmp_path)) == ["b.tar.xz", "c.zip"]

    def test_one_that_is_too_large_does_not_stop_the_rest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.tar").write_bytes(packed([("a.png", b"x" * 99), ("b.png", b"x" * 3), ("c.png", b"y" * 99)]))
        monkeypatch.setattr("infra.sources.kinds.tar.MAX_BYTES", 50)
        large, small, last = source(tmp_path).read(images(source(tmp_path)))
        assert isinstance(large, InputError)
        assert isinstance(last, InputError)
        assert "is larger than" in str(large)
        assert "a.tar!a.png" in str(large)
        assert small == b"xxx"

    @pytest.mark.parametrize("suffix", ["tar", "tgz"])
    def test_one_that_changed_is_refused(self, tmp_path: Path, suffix: str) -> None:
        path, mode = tmp_path / f"a.{suffix}", "w" if suffix == "tar" else "w:gz"
        path.write_bytes(packed(FOLDER.items(), mode))
        entries = images(source(path))
        path.write_bytes(packed([("a.png", b"else")], mode))
        with pytest.raises(IntegrityError, match="changed since it was listed"):
            list(source(path).read(entries))

    def test_one_that_changes_while_it_is_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tar"
        path.write_bytes(packed(FOLDER.items()))
        contents = source(path).read(images(source(path)))
        next(contents)
        path.write_bytes(packed(FOLDER.items()))
        with pytest.raises(IntegrityError, match="changed"):
            list(contents)


class TestPlaces:
    @pytest.mark.parametrize(
        ("archive", "split"),
        [
            ("train-000.tar", "train"),
            ("TEST_1.tar", "test"),
            ("val.tar", "test"),
            ("validation0.tar", "test"),
            ("valid-1.tar", "test"),
            ("test/x.tar", "test"),
            ("train/test-1.tar", "train"),
            ("training.tar", "train"),
            ("values.tar", ""),
            ("x-train.tar", "train"),
        ],
    )
    def test_the_archive_gives_the_split(self, tmp_path: Path, archive: str, split: str) -> None:
        (tmp_path / archive).parent.mkdir(exist_ok=True)
        (tmp_path / archive).write_bytes(packed([("cat/a.png", b"")]))
        (entry,) = images(source(tmp_path))
        assert (entry.split, entry.label) == (split, "cat")

    def test_its_folders_come_first(self, tmp_path: Path) -> None:
        (tmp_path / "train-0.tar").write_bytes(packed([("./test/cat/a.png", b""), ("a.png", b"")]))
        assert [(e.split, e.label) for e in images(source(tmp_path))] == [("test", "cat"), ("train", "")]

    def test_names_that_come_again_differ(self, tmp_path: Path) -> None:
        names = ["a.png", "b.png", "a.png", "a.png#2560", "a.png"]
        (tmp_path / "a.tar").write_bytes(packed((name, b"") for name in names))
        (tmp_path / "b.tar").write_bytes(packed((name, b"") for name in names))
        found = [entry.name for entry in images(source(tmp_path))]
        assert found[:3] == ["a.tar!a.png", "a.tar!b.png", "a.tar!a.png#1536"]
        assert len(set(found)) == len(found) == 8
        assert found == [entry.name for entry in images(source(tmp_path))]

    def test_no_archive_can_pose_as_another(self, tmp_path: Path) -> None:
        (tmp_path / "x.tar").write_bytes(packed([("y.tar!z.png", b"")]))
        (tmp_path / "x.tar!y.tar").write_bytes(packed([("z.png", b"")]))
        assert len({entry.name for entry in images(source(tmp_path))}) == 2


class TestLabels:
    def labels(self, tmp_path: Path, *members: tuple[str, bytes]) -> dict[str, str]:
        (tmp_path / "a.tar").write_bytes(packed(members))
        return {entry.name.partition("!")[2]: entry.label for entry in images(source(tmp_path))}

    @pytest.mark.parametrize("label", ["cls", "cls.txt", "CLS"])
    @pytest.mark.parametrize("label_first", [True, False])
    def test_before_or_after_their_image(self, tmp_path: Path, label: str, label_first: bool) -> None:
        members = []
        for n in range(3):
            pair = [(f"{n:06d}.jpg", b"image"), (f"{n:06d}.{label}", f"{n * 7}\n".encode())]
            members += reversed(pair) if label_first else pair
        assert self.labels(tmp_path, *members) == {"000000.jpg": "0", "000001.jpg": "7", "000002.jpg": "14"}
        assert others(source(tmp_path)) == []

    def test_json_and_what_is_no_label(self, tmp_path: Path) -> None:
        members = [("1.json", b'{"label": "cat"}'), ("1.png", b""), ("1.txt", b"a cat")]
        members += [("2.png", b""), ("2.json", b'{"label": 3}'), ("2.cls", b"4")]
        members += [("3.png", b""), ("3.json", b'{"label": null, "x": 1}'), ("4.png", b""), ("4.json", b"[1]")]
        assert self.labels(tmp_path, *members) == {"1.png": "cat", "2.png": "4", "3.png": "", "4.png": ""}
        assert sorted(others(source(tmp_path))) == [f"a.tar!{name}" for name in ("1.txt", "2.json", "3.json", "4.json")]

    def test_they_come_instead_of_folders_and_serve_all_of_their_sample(self, tmp_path: Path) -> None:
        members = [("cat/1.left.png", b""), ("cat/1.cls", b"9"), ("cat/1.right.png", b""), ("dog/1.png", b"")]
        assert self.labels(tmp_path, *members) == {"cat/1.left.png": "9", "cat/1.right.png": "9", "dog/1.png": ""}

    def test_what_only_looks_like_a_label_is_not_read(self, tmp_path: Path) -> None:
        members = [("paper.cls", b"\\ProvidesClass\n\\x" * 9999), ("package.json", b"{"), ("a.png", b"")]
        assert self.labels(tmp_path, *members) == {"a.png": ""}
        assert others(source(tmp_path)) == ["a.tar!paper.cls", "a.tar!package.json"]

    def test_a_label_that_labels_nothing_is_refused(self, tmp_path: Path) -> None:
        images = [(f"{n}.png", b"") for n in range(3)]
        labels = [(f"{n}.cls", b"7") for n in range(3)]
        with pytest.raises(InputError, match="labels no image beside it") as caught:
            self.labels(tmp_path, *images, *labels)
        assert caught.value.item == "a.tar!0.cls"

    def test_two_labels_of_one_sample_are_refused(self, tmp_path: Path) -> None:
        """The part of a name after its first dot tells no samples apart."""
        members = [(f"img.{n}.{suffix}", data) for n in range(3) for suffix, data in (("png", b""), ("cls", b"%d" % n))]
        with pytest.raises(InputError, match="calls images '1' that another label calls '0'") as caught:
            self.labels(tmp_path, *members)
        assert caught.value.item == "a.tar!img.1.cls"

    def test_many_images_up_to_one_dot_are_no_sample(self, tmp_path: Path) -> None:
        members = [(f"image.{n:04d}.png", b"") for n in range(300)]
        assert list(self.labels(tmp_path, *members)) == [name for name, _ in members]

    def test_a_label_before_many_images(self, tmp_path: Path) -> None:
        members = [("image.cls", b"5"), *((f"image.{n:04d}.png", b"") for n in range(300))]
        assert set(self.labels(tmp_path, *members).values()) == {"5"}


class TestArchivesInside:
    """ImageNet's archive of training images holds an archive per class."""

    INNER: ClassVar[dict[str, bytes]] = {
        "n01/x.png": encoded(picture(1)),
        "n01/y.JPEG": encoded(picture(2), "JPEG"),
        "n02/z.png": encoded(picture(3)),
        "n02/7.cls": b"eel",
        "n02/7.png": encoded(picture(4)),
    }

    def packed_twice(self, mode: str = "w") -> bytes:
        archives = {
            f"{name}.tar": packed((m.split("/")[1], content) for m, content in self.INNER.items() if m.startswith(name))
            for name in ("n01", "n02")
        }
        hidden = {"._n01.tar": b"the shadow that macOS makes", "notes.txt": b"x"}
        return packed((archives | hidden).items(), mode)

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_they_are_folders_of_their_names(self, tmp_path: Path, mode: str) -> None:
        (tmp_path / ("a.tar.gz" if mode == "w:gz" else "a.tar")).write_bytes(self.packed_twice(mode))
        found = source(tmp_path)
        entries = [entry for entry in found.find() if isinstance(entry, Entry)]
        assert [(entry.folder, entry.label) for entry in entries] == [
            ("n01", ""),
            ("n01", ""),
            ("n02", ""),
            ("n02", "eel"),
        ]
        expected = [content for name, content in self.INNER.items() if not name.endswith("cls")]
        assert list(found.read(entries)) == expected
        assert list(found.read(entries[2:])) == expected[2:]
        assert others(found) == [f"{entries[0].file}!notes.txt"]

    def test_a_third_level_is_a_file_like_any_other(self, tmp_path: Path) -> None:
        twice = packed([("n01.tar", packed([("deep.tar", packed([("a.png", b"x")])), ("b.png", b"y")]))])
        (tmp_path / "a.tar").write_bytes(twice)
        found = source(tmp_path)
        assert [entry.name for entry in found.find()] == ["a.tar!n01/deep.tar", "a.tar!n01/b.png"]

    def test_one_that_goes_on_beyond_its_end(self, tmp_path: Path) -> None:
        inner = packed([("a.png", b"x" * 600)])[:1024]
        (tmp_path / "a.tar").write_bytes(packed([("n01.tar", inner), ("b.png", b"y")], form=tarfile.USTAR_FORMAT))
        with pytest.raises(InputError, match="goes on beyond the end of an archive inside it") as caught:
            list(source(tmp_path).find())
        assert "a.tar at byte" in caught.value.item

    def test_what_is_no_archive_in_spite_of_its_name_is_left_out(self, tmp_path: Path) -> None:
        files = [("n01.tar", b"<html>" * 200), ("n02.tar", b"x"), ("b.png", encoded(picture(1)))]
        (tmp_path / "a.tar").write_bytes(packed(files))
        assert others(source(tmp_path)) == ["a.tar!n01.tar", "a.tar!n02.tar"]
        assert list(source(tmp_path).read(images(source(tmp_path)))) == [encoded(picture(1))]
