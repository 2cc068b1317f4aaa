"""The image of each sample is listed, and what lies beside it is counted by its key."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.choosing import chosen
from infra.sources.listing.listing import listed, part_entries
from infra.sources.reading import Reading
from infra.sources.source import Entry, Other, Source
from tests.infra.sources.formats.archives import END, member, zipped
from tests.pictures import encoded, picture

KINDS = {"folder": FolderSource, "tar": TarSource, "zip": ZipSource}


def source(top: Path, kind: str, names: list[str], image_key: str = "") -> Source:
    """The same names as files of a folder, or as members of an archive."""
    data = encoded(picture())
    top = top / "source"
    top.mkdir(exist_ok=True, parents=True)
    if kind == "folder":
        for name in names:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(data)
    elif kind == "tar":
        (top / "a.tar").write_bytes(b"".join(member(name.encode(), data) for name in names) + END)
    else:
        (top / "a.zip").write_bytes(zipped(*((name, data) for name in names)))
    return KINDS[kind](FileSet((str(top),)), Reading(image_key=image_key))


def names(source: Source) -> list[str]:
    with listed(source) as listing:
        found = [entry.name.rpartition("!")[2] for part in listing.parts(1000) for entry in part_entries(part)]
    return sorted(found)


def left_out(source: Source) -> dict[str, int]:
    with listed(source) as listing:
        assert not set(listing.others) - {".json", ".txt"}
        return listing.left_out


PAIRS = [f"{number}.{key}.png" for number in range(5) for key in ("image", "mask")]
VIEWS = [f"{number}.{key}.png" for number in range(5) for key in ("left", "right")]


@pytest.mark.parametrize("kind", KINDS)
class TestKinds:
    def test_masks_are_left_out_and_counted(self, tmp_path: Path, kind: str) -> None:
        found = source(tmp_path, kind, PAIRS)
        assert names(found) == [f"{number}.image.png" for number in range(5)]
        assert left_out(found) == {"mask": 5}

    def test_all_images_first_and_then_all_masks(self, tmp_path: Path, kind: str) -> None:
        found = source(tmp_path, kind, sorted(PAIRS, key=lambda name: name[2:]))
        assert names(found) == [f"{number}.image.png" for number in range(5)]

    def test_two_views_are_refused_until_one_is_named(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match="left, right"):
            names(source(tmp_path, kind, VIEWS))
        found = source(tmp_path, kind, VIEWS, "right")
        assert names(found) == [f"{number}.right.png" for number in range(5)]
        assert left_out(found) == {"left": 5}
        assert names(source(tmp_path, kind, VIEWS, "*")) == sorted(VIEWS)

    def test_a_key_that_no_image_has(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match=r"no images of that key, but 5 left, 5 right - set"):
            names(source(tmp_path, kind, VIEWS, "middle"))

    def test_folders_of_images_and_masks(self, tmp_path: Path, kind: str) -> None:
        pairs = [f"set/{folder}/{name}/{n}.png" for folder in ("images", "masks") for name in "ab" for n in range(2)]
        found = source(tmp_path, kind, pairs)
        assert names(found) == [name for name in pairs if "images" in name]
        assert left_out(found) == {"masks": 4}
        with listed(found) as listing:
            assert listing.class_names == ["a", "b"]

    @pytest.mark.parametrize("image", ["frames/#.png", "#.png", "photos/cat/#.png"])
    @pytest.mark.parametrize("mask", ["masks/#.png", "photo_masks/#_mask.png", "gtFine/#_gtFine_labelIds.png"])
    def test_masks_in_a_folder_of_their_own(self, tmp_path: Path, kind: str, image: str, mask: str) -> None:
        pairs = [one.replace("#", f"{n}") for one in (image, mask) for n in range(5)]
        found = source(tmp_path, kind, pairs)
        assert names(found) == [image.replace("#", f"{n}") for n in range(5)]
        assert sum(left_out(found).values()) == 5

    def test_classes_called_masks_stay_and_are_said(self, tmp_path: Path, kind: str) -> None:
        classes = [f"{name}/{number}.png" for name in ("cats", "masks") for number in range(5)]
        found = source(tmp_path, kind, classes)
        assert names(found) == classes
        with listed(found) as listing:
            assert (listing.class_names, listing.doubtful) == (["cats", "masks"], {"masks": 5})
        with listed(source(tmp_path, kind, classes, "plain")) as listing:
            assert (listing.count, listing.left_out, listing.doubtful) == (5, {"masks": 5}, {})
        others = [name.replace("masks/", "masks/m") for name in classes]
        with listed(source(tmp_path / "other", kind, others)) as listing:
            assert (listing.class_names, listing.doubtful) == (["cats", "masks"], {})

    def test_plain_images_of_any_names_stay(self, tmp_path: Path, kind: str) -> None:
        plain = ["IMG.0001.png", "IMG.0002.png", "Mr.Smith.png", "Mrs.Jones.png", "a.png", "b.rf.12f.png"]
        assert names(source(tmp_path, kind, plain)) == plain

    def test_the_second_suffix_of_one_name(self, tmp_path: Path, kind: str) -> None:
        found = source(tmp_path, kind, ["1.jpg", "1.png", "2.jpg", "2.png", "3.png"])
        assert names(found) == ["1.jpg", "2.jpg", "3.png"]
        assert left_out(found) == {".png": 2}


NUMBERS = [f"{n}.png" for n in range(5)]


def archives(folder: Path, suffix: str, contents: dict[str, list[str]], image_key: str = "") -> Source:
    """Archives of these names and members, side by side."""
    folder.mkdir()
    for name, members in contents.items():
        files = [(one, encoded(picture())) for one in members]
        packed = b"".join(member(one.encode(), data) for one, data in files) + END
        (folder / f"{name}{suffix}").write_bytes(zipped(*files) if suffix == ".zip" else packed)
    kind = ZipSource if suffix == ".zip" else TarSource
    return kind(FileSet((str(folder),)), Reading(image_key=image_key))


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archives_of_masks_beside_archives_of_images(tmp_path: Path, suffix: str) -> None:
    for number, (name, inside) in enumerate(
        {"masks": "#", "annotations": "#", "train_masks": "other/#", "gt": "gt_#", "images-depth": "#"}.items()
    ):
        pair = {"images": NUMBERS, name: [inside.replace("#", one) for one in NUMBERS]}
        with listed(archives(tmp_path / str(number), suffix, pair)) as listing:
            assert sum(listing.left_out.values()) == 5, name
            assert all(entry.file == f"images{suffix}" for part in listing.parts(9) for entry in part_entries(part))
    (tmp_path / f"0/masks{suffix}").rename(tmp_path / f"0/masks{suffix.upper()}")
    with listed(KINDS[suffix[1:]](FileSet((str(tmp_path / "0"),)))) as listing:
        assert sum(listing.left_out.values()) == 5, "another spelling of the same kind"
    both = archives(tmp_path / "both", suffix, {"cats": NUMBERS, "masks": NUMBERS}, f"masks{suffix}")
    assert left_out(both) == {"plain": 5}, "the user may want them"
    assert len(names(archives(tmp_path / "all", suffix, {"cats": NUMBERS, "masks": NUMBERS}, "*"))) == 10


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archives_that_are_all_there_is_are_no_masks(tmp_path: Path, suffix: str) -> None:
    assert len(names(archives(tmp_path / "one", suffix, {"masks": NUMBERS}))) == 5
    assert len(names(archives(tmp_path / "two", suffix, {"masks": NUMBERS, "depth": NUMBERS}))) == 10
    people = {"with_mask": NUMBERS, "without_mask": NUMBERS, "face mask": NUMBERS}
    assert len(names(archives(tmp_path / "people", suffix, people))) == 15


def test_files_of_any_size_beside_images_are_other_files(tmp_path: Path) -> None:
    big = b'{"caption": "' + b"x" * (2 << 20) + b'"}'
    files = [(f"{number}.{suffix}", big) for number in range(3) for suffix in ("json", "txt")]
    files += [(f"{number}.png", encoded(picture())) for number in range(3)]
    (tmp_path / "a.zip").write_bytes(zipped(*sorted(files)))
    (tmp_path / "b.tar").write_bytes(b"".join(member(name.encode(), data) for name, data in sorted(files)) + END)
    for kind in (ZipSource, TarSource):
        with listed(kind(FileSet((str(tmp_path / ("a.zip" if kind is ZipSource else "b.tar")),)))) as listing:
            assert listing.count == 3
            assert listing.others == {".json": 3, ".txt": 3}


class TestParquet:
    def table(self, folder: Path, *columns: str, image_key: str = "") -> ParquetSource:
        out = io.BytesIO()
        Image.new("L", (4, 4)).save(out, "PNG")
        pq.write_table(pa.table({name: [out.getvalue()] * 6 for name in columns}), folder / "a.parquet")
        return ParquetSource(FileSet((str(folder),)), Reading(image_key=image_key))

    def test_the_image_wins_and_the_mask_is_counted(self, tmp_path: Path) -> None:
        assert left_out(self.table(tmp_path, "mask", "image")) == {"mask": 6}

    def test_a_column_by_name(self, tmp_path: Path) -> None:
        found = self.table(tmp_path, "mask", "image", image_key="mask")
        assert left_out(found) == {"image": 6}
        entries = [entry for entry in found.find() if isinstance(entry, Entry)]
        assert all(isinstance(content, bytes) for content in found.read(entries))

    def test_two_views_are_refused_until_one_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"several images in a sample: left, right - set"):
            left_out(self.table(tmp_path, "left", "right"))
        assert left_out(self.table(tmp_path, "left", "right", image_key="left")) == {"right": 6}

    def test_a_column_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no column middle: left, right - set"):
            left_out(self.table(tmp_path, "left", "right", image_key="middle"))


def test_origins_of_images_that_waited_are_kept() -> None:
    waited = Entry(name="1.image.png", key="image", label="cat", label_from=".cls files", split_from="keys")
    (entry,) = chosen([waited])
    assert isinstance(entry, Entry)
    assert (entry, entry.label_from, entry.split_from, entry.key) == (waited, ".cls files", "keys", "")
    assert list(chosen([Other("notes.txt")])) == [Other("notes.txt")]
