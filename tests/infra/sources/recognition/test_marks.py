"""A file's kind by its name and its content, and sources whose files are called otherwise than their kind."""

from pathlib import Path

import pytest

from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.recognition.marks import is_of_kind, kind_of_name
from infra.sources.source import Entry, Other
from tests.infra.sources.formats.archives import ZIP
from tests.infra.sources.kinds.test_cifar import archive, parts
from tests.infra.sources.kinds.test_s3_sources import npy, parquet, tar, zipped
from tests.infra.sources.recognition.test_recognition import npz
from tests.infra.sources.trees import laid


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.PNG", "folder"),
        ("a.tar.gz", "tar"),
        ("a.TGZ", "tar"),
        ("a.gz", ""),
        ("a.npz", "arrays"),
        ("train-images-idx3-ubyte", "idx"),
        ("zip", ""),
        ("a.zip/b.txt", ""),
    ],
)
def test_names(name: str, kind: str) -> None:
    assert kind_of_name(name) == kind


@pytest.mark.parametrize(("name", "reads"), [("a.zip", 0), ("a.png", 0), ("a.txt", 0), ("a.tar", 1), ("a.dat", 1)])
def test_a_file_is_read_only_if_its_name_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reads: int
) -> None:
    laid(tmp_path, {name: ZIP})
    files = FileSet((str(tmp_path),))
    (file,) = files.find()
    read, plain = [], FileSet.read
    monkeypatch.setattr(FileSet, "read", lambda *args: read.append(args) or plain(*args))
    assert is_of_kind("zip", files, file) == (reads == 1 or name == "a.zip")
    assert len(read) == reads


SOURCES = {
    "tar": (TarSource, tar(), "a.tar", 8),
    "zip": (ZipSource, zipped(), "a.zip", 8),
    "npz": (ArraySource, npz(), "a.npz", 3),
    "npy": (ArraySource, npy(), "a.npy", 5),
    "parquet": (ParquetSource, parquet(), "a.parquet", 8),
    "cifar": (CifarSource, archive(parts(10, "python")), "a.tar.gz", 13),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", ["a.dat", "a"])
def test_the_same_images_under_another_name(tmp_path: Path, kind: str, name: str) -> None:
    make, data, usual, count = SOURCES[kind]
    contents = []
    for folder, called in (("usual", usual), ("other", name)):
        laid(tmp_path / folder, {called: data, "notes.txt": b"x"})
        source = make(FileSet((str(tmp_path / folder),)))
        found = list(source.find())
        entries = [one for one in found if isinstance(one, Entry)]
        assert [one.name for one in found if isinstance(one, Other)] == ["notes.txt"]
        contents.append(list(source.read(entries)))
    assert contents[0] == contents[1]
    assert len(contents[0]) == count
