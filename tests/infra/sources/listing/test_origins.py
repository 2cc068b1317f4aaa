"""Each kind of source says where its labels and splits come from."""

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.digits import DigitsSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.idx import IdxSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.listing import listed
from infra.sources.listing.origins import Origins
from infra.sources.source import Entry, Source
from tests.infra.sources.kinds.test_cifar import BINARY
from tests.infra.sources.kinds.test_tar import packed
from tests.infra.sources.kinds.test_zip import packed as zipped


def numpy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def parquet(column: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [b"x", b"y"], column: [3, 4]}), buffer)
    return buffer.getvalue()


def own_parquet(split: str) -> bytes:
    about = {"dtype": "uint8", "layout": "CHW", "shape": [1, 1, 1], "split": split}
    table = pa.table({"image": [b"x", b"y"], "label": [3, 4]}).replace_schema_metadata(
        {"ddpm.image": json.dumps(about)}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def idx(*shape: int) -> bytes:
    head = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    return gzip.compress(head + bytes(n % 2 for n in range(int(np.prod(shape)))))


IMAGES, LABELS = np.zeros((2, 8, 8), np.uint8), np.array([3, 4])
CLS = [("0.png", b""), ("0.cls", b"3"), ("1.png", b""), ("1.cls.txt", b"4")]
JSON = [("0.png", b""), ("0.json", b'{"label": 3}'), ("1.png", b""), ("1.json", b'{"label": 4}')]
BOTH = ("train", "test")
FOUND: dict[str, tuple[Callable[[FileSet], Source], dict[str, bytes], str, str]] = {
    "folders": (
        FolderSource,
        {f"{split}/{name}/a.png": b"" for split in ("Training", "val2017") for name in "ab"},
        "folder names",
        "folders Training and val2017",
    ),
    "folders of classes alone": (FolderSource, {f"{name}/a.png": b"" for name in "ab"}, "folder names", ""),
    "no folders": (FolderSource, {f"{name}.png": b"" for name in "ab"}, "", ""),
    "one split alone": (FolderSource, {f"train/{name}/a.png": b"" for name in "ab"}, "folder names", ""),
    "some without a class": (FolderSource, {"a/1.png": b"", "b/1.png": b"", "1.png": b""}, "", ""),
    "test lacks its labels": (
        FolderSource,
        {f"{split}/{name}a.png": b"" for split in ("train", "val") for name in ("a/", "b/")} | {"test/a.png": b""},
        "folder names",
        "folders train and val",
    ),
    "cls": (TarSource, {f"{split}-0.tar": packed(CLS) for split in BOTH}, ".cls files", "file names"),
    "json": (TarSource, {"a.tar": packed(JSON)}, ".json files", ""),
    "cls and json": (TarSource, {"a.tar": packed(CLS), "b.tar": packed(JSON)}, ".cls files and .json files", ""),
    "zip": (
        ZipSource,
        {"a.zip": zipped([(f"{split}/{n}/a.png", b"") for split in BOTH for n in "34"])},
        "folder names",
        "folders train and test",
    ),
    "zip in a folder": (
        ZipSource,
        {f"{split}/a.zip": zipped(CLS) for split in BOTH},
        ".cls files",
        "folders train and test",
    ),
    "a folder and a name": (
        ZipSource,
        {"train/a.zip": zipped(CLS), "other/test-0.zip": zipped(CLS)},
        ".cls files",
        "folder train and file names",
    ),
    "npy": (
        ArraySource,
        {f"{split}{end}.npy": numpy(x) for split in BOTH for end, x in (("", IMAGES), ("-labels", LABELS))},
        "label arrays",
        "file names",
    ),
    "npz": (
        ArraySource,
        {"a.npz": archive(x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)},
        "label arrays",
        "keys of arrays",
    ),
    "npz without labels": (ArraySource, {"a.npz": archive(images=IMAGES)}, "", ""),
    "parquet": (
        ParquetSource,
        {f"{split}-0.parquet": parquet("fine_label") for split in BOTH},
        "column fine_label",
        "file names",
    ),
    "two columns": (
        ParquetSource,
        {f"{n}.parquet": parquet(name) for n, name in enumerate(("class", "label"))},
        "column class and column label",
        "",
    ),
    "our own parquet": (
        ParquetSource,
        {f"{n}.parquet": own_parquet(split) for n, split in enumerate(BOTH)},
        "column label",
        "the files themselves",
    ),
    "cifar": (CifarSource, BINARY, "CIFAR's own labels", "CIFAR's batches"),
    "idx": (
        IdxSource,
        {
            f"{part}-{kind}-ubyte.gz": data
            for part in ("train", "t10k")
            for kind, data in (("images-idx3", idx(4, 2, 2)), ("labels-idx1", idx(4)))
        },
        "label files",
        "the files train and t10k",
    ),
    "digits": (lambda _: DigitsSource(), {}, "scikit-learn", ""),
}


@pytest.mark.parametrize("kind", FOUND)
def test_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    make, contents, labels, splits = FOUND[kind]
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with listed(make(FileSet((str(tmp_path),)))) as listing:
        assert (listing.labels_from, listing.splits_from) == (labels, splits)
        assert bool(listing.labels_from) == bool(listing.class_names)
        assert bool(listing.splits_from) == listing.splits_given


def test_many_origins_are_shortened_and_take_no_memory_each() -> None:
    origins = Origins()
    for number in range(99):
        found = {"split": "val", "split_from": f"file {number}", "label": "x", "label_from": f"column {number}"}
        origins.add_found(Entry(name=str(number), **found))
        origins.add_named("train", f"train{number}" + "0" * 100)
    assert origins.of_labels() == "column 0 and column 1 and column 2 and more"
    assert origins.of_splits(("val",)) == "file 0 and file 1 and file 2 and more"
    assert (len(origins._labels), len(origins._splits["val"])) == (4, 4)
    assert origins.of_splits(("train", "test")) == "folder train0000000000000000000"


def test_only_given_splits_and_labels_count() -> None:
    origins = Origins()
    origins.add_found(Entry(name="a", split_from="keys", label_from="column"))
    assert (origins.of_labels(), origins.of_splits(("train", "test"))) == ("", "")
