"""Files beside images: which are read, and what becomes of large ones."""

from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.beside import file_beside, is_wanted, table_beside
from infra.sources.formats.metadata import MAX_METADATA_BYTES
from infra.sources.reading import Reading
from infra.sources.source import Metadata, Other
from tests.infra.sources.trees import laid


@pytest.mark.parametrize(
    ("name", "labels", "use_splits", "wanted"),
    [
        ("metadata.csv", "auto", False, True),
        ("train.csv", "auto", False, True),
        ("train.csv", "column:x", False, True),
        ("train.csv", "none", True, False),
        ("train.csv", "folder", True, False),
        ("list_eval_partition.txt", "none", True, True),
        ("list_eval_partition.txt", "auto", False, False),
        ("notes.txt", "auto", True, False),
    ],
)
def test_a_file_is_read_only_if_it_counts(name: str, labels: str, use_splits: bool, wanted: bool) -> None:
    assert is_wanted(name, Reading(labels=labels, use_splits=use_splits)) is wanted


def test_files_beside_images_and_beside_archives(tmp_path: Path) -> None:
    laid(tmp_path, {"metadata.csv": b"m", "train.csv": b"t", "notes.txt": b"n"})
    files = FileSet((str(tmp_path),))
    meta, notes, train = files.find()
    assert file_beside(files, meta, Reading()) == Metadata("metadata.csv", b"m")
    assert file_beside(files, train, Reading()) == Metadata("train.csv", b"t")
    assert file_beside(files, notes, Reading()) == Other("notes.txt")
    assert table_beside(files, meta, Reading()) == Other("metadata.csv")
    assert table_beside(files, train, Reading()) == Metadata("train.csv", b"t")


@pytest.mark.parametrize("name", ["train.csv", "metadata.csv"])
def test_a_large_file_is_not_read_and_ends_nothing(name: str) -> None:
    """Only its beginning is tried; here it is not there at all."""
    large = File(name=name, size=MAX_METADATA_BYTES + 1, stamp="s")
    found = file_beside(FileSet(("/nowhere",)), large, Reading())
    assert isinstance(found, Metadata)
    assert isinstance(found.content, InputError)
    assert found.content.cause == "is larger than 64 MiB"
