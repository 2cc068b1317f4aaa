"""The table of examples of the rules in infra/sources/listing/placing.py; each test names the rules that it shows."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.cells import settled
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.listing.partition import Partition
from infra.sources.listing.placing import Placing
from infra.sources.listing.ruling import LabelRule, decide
from infra.sources.listing.survey import Survey
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Entry, Source
from tests.infra.sources.kinds.test_tar import packed
from tests.infra.sources.kinds.test_zip import packed as zipped
from tests.infra.sources.placed import placed


def place(*entries: Entry, reading: Reading = BY_RULE) -> list[tuple[str, str]]:
    survey, metadata = Survey(), MetadataLabels("")
    for entry in entries:
        survey.add(entry)
    survey.finish()
    ruling = decide(reading, survey, metadata, "")
    placing = Placing.of(survey, ruling, reading.label_depth, metadata, Partition())
    given = [placing(entry) for entry in entries]
    changes = settled(Counter(given), from_folders=ruling.rule is LabelRule.FOLDER, depth=reading.label_depth)
    return [changes[cell] for cell in given]


def folders(*paths: str) -> list[Entry]:
    return [Entry(name=f"{n}", folder=path) for n, path in enumerate(paths)]


def files(*names: str) -> list[Entry]:
    """Images of files of many, with no folders or labels of their own."""
    return [Entry(name=f"{n}", file=name, at=(0,)) for n, name in enumerate(names)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("train/cat", "test/cat"), (("train", "cat"), ("test", "cat"))),
        (("cat", "dog"), (("", "cat"), ("", "dog"))),
        (("", "cat"), (("", ""), ("", "cat"))),
        (("cat", "cat"), (("", "cat"), ("", "cat"))),
        (("data/train/cat", "data/test/cat"), (("train", "cat"), ("test", "cat"))),
        (("a/b/Train/x", "a/b/val/x"), (("train", "x"), ("test", "x"))),
        (("a/train", "a/test", "a/preview"), (("train", ""), ("test", ""), ("", ""))),
        (("a/train/b/c", "a/test"), (("train", "b"), ("test", ""))),
        (("train/images/cat", "test/images/cat"), (("train", "cat"), ("test", "cat"))),
        (("data/cat", "data/dog"), (("", "cat"), ("", "dog"))),
        (("data/cat", "data"), (("", "cat"), ("", ""))),
        (("a/cat", "b/dog"), (("", "a"), ("", "b"))),
        (("a/train/x", "b/test/x"), (("", "a"), ("", "b"))),
        (("data/train/cat", "data/train/dog"), (("train", "cat"), ("train", "dog"))),
        (("train/train", "train/bus"), (("train", "train"), ("train", "bus"))),
        (("train", "val", "test"), (("train", ""), ("", ""), ("test", ""))),
        (("Training/Apple", "Test/Apple"), (("train", "Apple"), ("test", "Apple"))),
        (("train2017", "val2017"), (("train", ""), ("test", ""))),
    ],
    ids=str,
)
def test_folders(paths: tuple[str, ...], expected: tuple[tuple[str, str], ...]) -> None:
    """Rules 1 to 6."""
    assert place(*folders(*paths)) == list(expected)


def test_the_name_of_a_file_of_one_image_says_nothing() -> None:
    """Rule 3."""
    assert place(Entry(name="a", file="train.png"), Entry(name="b", file="test.png")) == [("", ""), ("", "")]


def test_the_source_comes_first_then_folders_then_files() -> None:
    """Rule 3."""
    entries = [
        Entry(name="a", file="train-0.tar", at=(0,), split="test", folder="train/x"),
        Entry(name="b", file="train-0.tar", at=(0,), folder="test/x"),
        Entry(name="c", file="train-0.tar", at=(0,)),
        Entry(name="d", file="test/train-0.tar", at=(0,)),
    ]
    assert place(*entries) == [("test", "x"), ("test", "x"), ("train", ""), ("test", "")]


@pytest.mark.parametrize(
    ("depth", "paths", "classes"),
    [
        (0, ("cats/a", "cats/b", "dogs"), ("cats/a", "cats/b", "dogs")),
        (1, ("cats/a", "cats/b", "dogs"), ("cats", "cats", "dogs")),
        (2, ("cats/a", "cats/b", "dogs"), ("a", "b", "")),
        (2, ("x/cats/a", "x/cats/b", "x/dogs/a"), ("a", "b", "a")),
        (1, ("data/cats/a", "data/cats/b", "data/dogs/c/d"), ("cats", "cats", "dogs")),
        (2, ("train/site1/cat", "train/site2/dog", "test/site9/cat"), ("cat", "dog", "cat")),
        (1, ("train/imgs/cat/a", "train/imgs/dog/a", "test/cat/b", "test/dog/b"), ("cat", "dog", "cat", "dog")),
    ],
    ids=str,
)
def test_the_depth_of_the_class(depth: int, paths: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Rules 4c and 7."""
    assert [label for _, label in place(*folders(*paths), reading=Reading(label_depth=depth))] == list(classes)


@pytest.mark.parametrize("folder", ["", "data", "data/more"])
def test_if_the_source_gives_labels_folders_give_none(folder: str) -> None:
    """Rule 4."""
    entries = [Entry(name=f"{n}", label=label, folder=folder) for n, label in enumerate(("3", "4", ""))]
    assert place(*entries) == [("", "3"), ("", "4"), ("", "")]


def numpy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def parquet(labels: list[int] | None) -> bytes:
    buffer = BytesIO()
    pq.write_table(pa.table({"image": [b"x", b"y"]} | ({"label": labels} if labels else {})), buffer)
    return buffer.getvalue()


PIXELS = numpy(np.zeros((2, 8, 8), np.uint8))
SAMPLE = [(f"{n}.{suffix}", data) for n in range(2) for suffix, data in (("png", b""), ("cls", b"%d" % (n + 3)))]
# Each is a collection below folders of its own, with the labels 3 and 4 in both splits.
WRAPPED: dict[str, tuple[Callable[[FileSet], Source], dict[str, bytes]]] = {
    "folder": (FolderSource, {f"set/{split}/{n}/a.png": b"" for split in ("train", "test") for n in (3, 4)}),
    "hugging face": (
        ParquetSource,
        {f"plain_text/{split}/0000.parquet": parquet([3, 4]) for split in ("train", "test")},
    ),
    "shards": (TarSource, {f"shards/{split}/000.tar": packed(SAMPLE) for split in ("train", "test")}),
    "one tar": (
        TarSource,
        {"a.tar": packed((f"set/{split}/{name}", data) for split in ("train", "test") for name, data in SAMPLE)},
    ),
    "one zip": (
        ZipSource,
        {"a.zip": zipped([(f"set/{split}/{name}", data) for split in ("train", "test") for name, data in SAMPLE])},
    ),
    "coco": (
        ZipSource,
        {f"{name}.zip": zipped([(f"{name}/{n}/a.png", b"") for n in (3, 4)]) for name in ("train2017", "val2017")},
    ),
    "arrays": (
        ArraySource,
        {
            f"w/{split}/x{suffix}.npy": data
            for split in ("train", "test")
            for suffix, data in (("", PIXELS), ("-labels", numpy(np.array([3, 4]))))
        },
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    make, contents = WRAPPED[kind]
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = {(entry.split, entry.label) for entry in placed(make(FileSet((str(tmp_path),))))}
    assert found == {(split, label) for split in ("train", "test") for label in "34"}


def test_a_split_that_is_called_otherwise_is_not_mixed_in(tmp_path: Path) -> None:
    for name in ("Train/cat/a.png", "holdout/cat/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="puts 1 images into train and 1 into neither"):
        placed(FolderSource(FileSet((str(tmp_path),))))
