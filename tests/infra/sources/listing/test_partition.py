"""The splits that tables give images, and what they leave to folders."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.errors import InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing.listing import Listing, listed, part_entries
from infra.sources.reading import Reading
from tests.infra.sources.trees import laid

NAMES = [f"img/{n}.jpg" for n in range(6)]
ROWS = "".join(f"{n}.jpg {n % 3}\n" for n in range(6)).encode()


def found(folder: Path, files: Mapping[str, bytes], **chosen: object) -> tuple[Listing, list[str]]:
    laid(folder, files)
    reading = Reading(**chosen)
    with listed(FolderSource(FileSet((str(folder),)), reading), reading) as listing:
        return listing, [entry.split for part in listing.parts(100) for entry in part_entries(part)]


def images(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names or NAMES, b"")


def test_a_table_splits_images_and_is_named(tmp_path: Path) -> None:
    listing, splits = found(tmp_path, images() | {"list_eval_partition.txt": ROWS})
    assert splits == ["train", "", "test"] * 2
    assert (listing.splits_given, listing.splits_from) == (True, "list_eval_partition.txt")
    assert (listing.splits_note, listing.others) == ("", {})


def test_without_splits_the_table_is_not_read(tmp_path: Path) -> None:
    with_table, splits = found(tmp_path, images() | {"splits.csv": b"\xff"}, use_splits=False, labels="none")
    assert (splits, with_table.others) == ([""] * 6, {".csv": 1})
    (tmp_path / "splits.csv").unlink()
    assert found(tmp_path, {}, use_splits=False, labels="none")[0].digest == with_table.digest


def test_a_table_comes_before_the_names_of_folders_around_it(tmp_path: Path) -> None:
    """Images of another folder keep the split that their folder names."""
    names = ("a/train/1.jpg", "a/train/2.jpg", "a/train/3.jpg", "a/test/4.jpg")
    table = {"a/train/splits.csv": b"file_name,split\n1.jpg,train\n2.jpg,test\n"}
    listing, splits = found(tmp_path, images(*names) | table)
    assert splits == ["test", "train", "test", ""]
    assert listing.splits_from == "folder test and splits.csv"


def test_a_table_comes_before_folders_that_name_splits_with_others(tmp_path: Path) -> None:
    """As trainA and testA do; the table is what is named then."""
    names = [f"{split}{name}/{split}{name}{n}.jpg" for split in ("train", "test") for name in "AB" for n in range(2)]
    rows = "".join(f"{name},{(n % 2 and 'test') or 'train'}\n" for n, name in enumerate(names))
    listing, splits = found(tmp_path, images(*names) | {"splits.csv": rows.encode()})
    assert splits == ["train", "test"] * 4
    assert listing.splits_from == "splits.csv"


def test_rows_that_name_no_image_are_counted(tmp_path: Path) -> None:
    listing, splits = found(tmp_path, images(*NAMES[:4]) | {"list_eval_partition.txt": ROWS})
    assert splits == ["train", "", "test", "train"]
    assert listing.splits_note == "2 rows of list_eval_partition.txt name no image"


def test_a_table_of_other_images_is_said_and_not_used(tmp_path: Path) -> None:
    listing, splits = found(tmp_path, images("x.jpg", "y.jpg") | {"list_eval_partition.txt": ROWS})
    assert (splits, listing.splits_from) == (["", ""], "")
    assert listing.splits_note == "list_eval_partition.txt names no image of the source"


def test_a_subset_of_the_training_images_has_no_splits(tmp_path: Path) -> None:
    listing, _ = found(tmp_path, images("0.jpg", "3.jpg") | {"list_eval_partition.txt": ROWS})
    assert (listing.splits_given, listing.splits_from) == (False, "")


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="puts an image into two splits") as caught:
        found(tmp_path, images() | {"splits.csv": b"0.jpg,train\n0.jpg,test\n"})
    assert caught.value.item == "splits.csv"
    assert Term.TAKE_NO_SPLITS in caught.value.remedy


def test_a_table_of_splits_never_labels(tmp_path: Path) -> None:
    rows = b"file_name,label\n" + b"".join(b"%d.jpg,%d\n" % (n, n % 2) for n in range(6))
    listing, _ = found(tmp_path, images() | {"splits.csv": rows})
    assert (listing.class_names, listing.others) == ([], {".csv": 1})


def test_the_splits_are_in_the_digest(tmp_path: Path) -> None:
    one, _ = found(tmp_path, images() | {"list_eval_partition.txt": ROWS})
    other, _ = found(tmp_path, {"list_eval_partition.txt": ROWS.replace(b"0.jpg 0", b"0.jpg 2")})
    (tmp_path / "list_eval_partition.txt").unlink()
    without, _ = found(tmp_path, {})
    assert len({one.digest, other.digest, without.digest}) == 3
