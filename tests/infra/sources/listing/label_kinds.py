"""Kinds of input by the way in which they are labelled: each rule with examples and with inputs that only look so."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.reading import Reading
from infra.sources.source import Source
from tests.infra.sources.kinds.test_tar import packed
from tests.infra.sources.kinds.test_zip import packed as zipped

Make = Callable[[FileSet, Reading], Source]


def images(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"")


def many(folder: str, count: int, start: int = 0) -> list[str]:
    return [f"{folder}/{n:05d}.png" for n in range(start, start + count)]


def dataset_json(names: list[str], labels: object = None) -> bytes:
    pairs = [[name, number % 2] for number, name in enumerate(names)]
    return json.dumps({"labels": labels if labels is not None else pairs}).encode()


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [b"x", b"y"]} | columns), buffer)
    return buffer.getvalue()


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((2, 8, 8), np.uint8), **arrays)
    return buffer.getvalue()


EDM = [name for shard in range(3) for name in many(f"{shard:05d}", 4, 4 * shard)]
FFHQ = [name for shard in range(3) for name in many(f"{shard * 1000:05d}", 4, 1000 * shard)]
CATS = [f"{('cat', 'dog')[n % 2]}_{n:04d}.png" for n in range(8)]
ROWS = "".join(json.dumps({"file_name": f"{n}.png", "label": n % 2}) + "\n" for n in range(4)).encode()
TABLE = b"file_name,label,hair\n" + b"".join(
    b"%d.png,%d,%s\n" % (n, n % 2, b"red" if n else b"blond") for n in range(4)
)
FOUR = images(*(f"{n}.png" for n in range(4)))
SIDECARS = [(f"{n}.{end}", data) for n in range(4) for end, data in (("png", b""), ("cls", b"c%d" % (n % 2)))]
SIDECARS.append(("metadata.csv", TABLE))
NAMES = "folder names"


TINY = images(*(f"train/{c}/images/{c}_{n}.JPEG" for c in "ab" for n in range(2)))
TINY |= images(*(f"{split}/images/{split}_{n}.JPEG" for split in ("val", "test") for n in range(2)))
TINY["val/val_annotations.txt"] = b"val_0.JPEG\ta\t0\t1\nval_1.JPEG\tb\t0\t1\n"
FACES = [f"img_align_celeba/{n:06d}.jpg" for n in range(4)]
CELEBA = images(*FACES) | {
    "list_attr_celeba.txt": b"4\nMale Smiling\n"
    + b"".join(b"%06d.jpg -1 %2d\n" % (n, 1 - n % 2 * 2) for n in range(4)),
    "identity_CelebA.txt": b"".join(b"%06d.jpg %d\n" % (n, n // 2) for n in range(4)),
}
# The images of the test folder are called as those of the other, and are not in the table.
KAGGLE = images(*(f"train_images/{n}.png" for n in range(4))) | {
    "train.csv": b"id,label\n" + b"".join(b"%d,%s\n" % (n, (b"cat", b"dog")[n % 2]) for n in range(4))
}


@dataclass(frozen=True)
class Kind:
    """A kind of input: its files, and the classes with their origin, or a part of the note."""

    make: Make
    contents: Mapping[str, bytes]
    classes: tuple[str, ...] = ()
    origin: str = ""
    note: str = ""


KINDS = {
    "edm": Kind(
        ZipSource,
        {"a.zip": zipped([*((name, b"") for name in EDM), ("dataset.json", dataset_json(EDM))])},
        ("0", "1"),
        "dataset.json",
    ),
    "edm in a tar": Kind(
        TarSource,
        {"a.tar": packed([("./dataset.json", dataset_json(EDM)), *((f"./{name}", b"") for name in EDM)])},
        ("0", "1"),
        "dataset.json",
    ),
    "edm in a folder": Kind(
        FolderSource, images(*EDM) | {"dataset.json": dataset_json(EDM)}, ("0", "1"), "dataset.json"
    ),
    "stylegan without labels": Kind(
        ZipSource,
        {"a.zip": zipped([*((name, b"") for name in EDM), ("dataset.json", b'{"labels": null}')])},
        note="folders 00000–00002 look like shards",
    ),
    "one-hot in dataset.json": Kind(
        FolderSource,
        FOUR | {"dataset.json": dataset_json([], [[f"{n}.png", [n % 2, 1 - n % 2]] for n in range(4)])},
        ("0", "1"),
        "dataset.json",
    ),
    "dataset.json of something else": Kind(
        FolderSource,
        images("a/1.png", "b/1.png") | {"dataset.json": dataset_json(["x.png"])},
        ("a", "b"),
        NAMES,
        "dataset.json names no image",
    ),
    "ffhq": Kind(FolderSource, images(*FFHQ), note="folders 00000–02000 look like shards"),
    "ffhq with keys": Kind(
        FolderSource,
        images(*(f"{n // 2:02d}/{n:05d}.{key}.png" for n in range(5) for key in ("image", "mask"))),
        note="folders 00–02 look like shards",
    ),
    "shards by word": Kind(
        FolderSource, images("part-1/a.png", "part-2/b.png", "part-3/c.png"), note="folders part-1–part-3 look like"
    ),
    "shards around classes": Kind(
        FolderSource,
        images("part0/cat/a.png", "part0/dog/b.png", "part1/cat/c.png", "part1/dog/d.png"),
        note="makes them classes, the depth of the class folder=2 the folders in them, as cat",
    ),
    "shards in splits": Kind(
        FolderSource,
        images(*(f"{split}/{name}" for split in ("train", "test") for name in FFHQ)),
        note="folders 00000–02000 look like shards",
    ),
    "shards of named files": Kind(
        FolderSource, images(*(f"0000{n % 2}/{name}" for n, name in enumerate(CATS * 2))), ("cat", "dog"), "file names"
    ),
    "dates": Kind(
        FolderSource,
        images("2019/07/a.png", "2019/08/b.png", "2020/01/c.png"),
        note="folders 2019–2020 look like dates",
    ),
    "months of one year": Kind(FolderSource, images("2019/07/a.png", "2019/08/b.png"), note="look like dates"),
    "numbers": Kind(
        FolderSource, images(*many("0", 4), *many("2", 4, 100), *many("10", 4, 200)), ("0", "2", "10"), NAMES
    ),
    "mnist in folders": Kind(FolderSource, images(*(f"{n}/{n}.png" for n in range(10))), tuple("0123456789"), NAMES),
    "gtsrb": Kind(
        FolderSource,
        images(*(name for n in range(3) for name in many(f"{n:05d}", 2 + 4 * n))),
        ("00000", "00001", "00002"),
        NAMES,
    ),
    "nested": Kind(
        FolderSource,
        images(*(f"{c}/batch{b}/1.png" for c in ("cats", "dogs") for b in "12")),
        ("cats", "dogs"),
        NAMES,
        f"{Term.LABEL_DEPTH}=0 takes the whole path",
    ),
    "a folder around the classes of all splits": Kind(
        FolderSource,
        images(*(f"{split}/images/{c}/1.png" for split in ("train", "test") for c in "ab")),
        ("a", "b"),
        NAMES,
    ),
    "file names": Kind(FolderSource, images(*CATS), ("cat", "dog"), "file names"),
    "file names in one folder": Kind(
        FolderSource, images(*(f"x/{name}" for name in CATS)), ("cat", "dog"), "file names"
    ),
    "file names in splits": Kind(
        ZipSource,
        {"a.zip": zipped([(f"{split}/{name}", b"") for split in ("train", "test") for name in CATS])},
        ("cat", "dog"),
        "file names",
    ),
    "file names with keys": Kind(
        FolderSource,
        images(*(f"{name[:-4]}.{key}.png" for name in CATS for key in ("image", "mask"))),
        ("cat", "dog"),
        "file names",
    ),
    "file names with masks at the end": Kind(
        FolderSource,
        images(*(f"{name[:-4]}{end}.png" for name in CATS for end in ("", "_mask"))),
        ("cat", "dog"),
        "file names",
    ),
    "folders before file names": Kind(
        FolderSource, images(*(f"{c}/{name}" for c in "ab" for name in CATS)), ("a", "b"), NAMES
    ),
    "metadata.jsonl": Kind(FolderSource, FOUR | {"metadata.jsonl": ROWS}, ("0", "1"), "metadata.jsonl"),
    "metadata.csv in a tar": Kind(
        TarSource, {"a.tar": packed([*FOUR.items(), ("metadata.csv", TABLE)])}, ("0", "1"), "metadata.csv"
    ),
    "metadata in each split": Kind(
        FolderSource,
        {f"{s}/{name}": data for s in ("train", "test") for name, data in (FOUR | {"metadata.csv": TABLE}).items()},
        ("0", "1"),
        "metadata.csv",
    ),
    "metadata of the test split": Kind(
        FolderSource,
        images("train/0/a.png", "train/1/b.png", *(f"test/{n}.png" for n in range(4))) | {"test/metadata.csv": TABLE},
        ("0", "1"),
        "folder names and metadata.csv",
    ),
    "tiny imagenet": Kind(FolderSource, TINY, ("a", "b"), "folder names and val_annotations.txt"),
    "tiny imagenet in a zip": Kind(
        ZipSource,
        {"t.zip": zipped([(f"tiny/{name}", data) for name, data in TINY.items()])},
        ("a", "b"),
        "folder names and val_annotations.txt",
    ),
    "annotations of some": Kind(
        FolderSource,
        TINY | {"val/val_annotations.txt": b"val_0.JPEG\ta\nval_1.JPEG\tb\nval_9.JPEG\ta\n"},
        ("a", "b"),
        "folder names and val_annotations.txt",
        "1 rows of val_annotations.txt name no image",
    ),
    "celeba": Kind(FolderSource, CELEBA, note="list_attr_celeba.txt has several labels per image (Male, Smiling); "),
    "celeba packed": Kind(
        ZipSource,
        {"img_align_celeba.zip": zipped([(name, b"") for name in FACES])}
        | {name: data for name, data in CELEBA.items() if data},
        note="identity_CelebA.txt has no labels but identity; ",
    ),
    "attributes of folders": Kind(
        FolderSource,
        images("a/0.png", "b/1.png") | {"list_attr_x.csv": b"file_name,Male,Smiling\n0.png,1,1\n"},
        ("a", "b"),
        NAMES,
        "list_attr_x.csv has several labels per image",
    ),
    "kaggle": Kind(FolderSource, KAGGLE, ("cat", "dog"), "train.csv"),
    "kaggle packed": Kind(
        ZipSource,
        {"train.zip": zipped([(f"{n}.png", b"") for n in range(4)]), "train.csv": KAGGLE["train.csv"]},
        ("cat", "dog"),
        "train.csv",
    ),
    "kaggle in a tar": Kind(
        TarSource,
        {"train.tar": packed([(f"{n}.png", b"") for n in range(4)]), "train.csv": KAGGLE["train.csv"]},
        ("cat", "dog"),
        "train.csv",
    ),
    "a table that cannot be read": Kind(
        FolderSource, images("a/0.png", "b/1.png") | {"train.csv": b"\xff\xfe"}, ("a", "b"), NAMES, "cannot be read"
    ),
    "captions": Kind(FolderSource, FOUR | {"metadata.csv": b"file_name,text\n0.png,a cat\n"}),
    "sidecars before metadata": Kind(TarSource, {"a.tar": packed(SIDECARS)}, ("c0", "c1"), ".cls files"),
    "several in .json files": Kind(
        TarSource,
        {
            "a.tar": packed(
                [("0.png", b""), ("0.json", b'{"label": [1, 3]}'), ("1.png", b""), ("1.json", b'{"label": 1}')]
            )
        },
        note=".json files: several labels per image",
    ),
    "several in a column": Kind(
        ParquetSource, {"a.parquet": parquet(labels=[[1, 3], [2]])}, note="column labels: several labels per image"
    ),
    "several beside other columns": Kind(
        ParquetSource,
        {"a.parquet": parquet(labels=[[1, 3], [2]], score=[0.5, 0.25], hair=["red", "grey"])},
        note="the way to label=column:NAME (hair) picks one, the way to label=none ignores them",
    ),
    "one in each list": Kind(ParquetSource, {"a.parquet": parquet(labels=[[1], [0]])}, ("0", "1"), "column labels"),
    "one-hot column": Kind(ParquetSource, {"a.parquet": parquet(label=[[0, 1], [1, 0]])}, ("0", "1"), "column label"),
    "truth": Kind(ParquetSource, {"a.parquet": parquet(label=[True, False])}, ("false", "true"), "column label"),
    "floats": Kind(ParquetSource, {"a.parquet": parquet(label=[3.0, 1.0])}, ("1", "3"), "column label"),
    "fractions": Kind(ParquetSource, {"a.parquet": parquet(label=[0.5, 1.0])}, note="column label: fractions"),
    "chestmnist": Kind(
        ArraySource, {"a.npz": npz(labels=np.array([[1, 1, 0], [0, 0, 0]]))}, note="a.npz[labels]: several labels"
    ),
    "one-hot array": Kind(ArraySource, {"a.npz": npz(labels=np.eye(2))}, ("0", "1"), "label arrays"),
}
