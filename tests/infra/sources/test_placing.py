"""The table of examples of the rules in infra/sources/placing.py; each test names the rules that it shows."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import InputError
from infra.sources.arrays import ArraySource
from infra.sources.files import FileSet
from infra.sources.folder import FolderSource
from infra.sources.parquet import ParquetSource
from infra.sources.placing import Survey, settled
from infra.sources.source import Entry, Source
from infra.sources.tar import TarSource
from infra.sources.zip import ZipSource
from tests.infra.sources.placed import placed
from tests.infra.sources.test_tar import packed
from tests.infra.sources.test_zip import packed as zipped


def place(*entries: Entry) -> list[tuple[str, str]]:
    survey = Survey()
    for entry in entries:
        survey.add(entry)
    given = [survey.placing()(entry) for entry in entries]
    changes = settled(Counter(given), from_folders=not survey.placing().labelled)
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
        (("a/train", "a/test", "a/preview"), (("train", ""), ("test", ""), ("", "preview"))),
        (("a/train/b/c", "a/test"), (("train", "b/c"), ("test", ""))),
        (("data/cat", "data/dog"), (("", "cat"), ("", "dog"))),
        (("data/cat", "data"), (("", "cat"), ("", ""))),
        (("a/cat", "b/dog"), (("", "a/cat"), ("", "b/dog"))),
        (("a/train/x", "b/test/x"), (("", "a/train/x"), ("", "b/test/x"))),
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


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "TRAINING", "trainset", "train_set", "train-images", "train 1")
        ),
        *((name, "test") for name in ("test", "testing", "Test_data", "testset", "test2", "test_imgs")),
        *((name, "test") for name in ("val", "valid", "validation", "val2017", "val-set")),
        *((name, "") for name in ("trains", "trainer", "tests", "testament", "valley", "value", "pretrain", "x-train")),
        *((name, "") for name in ("train-shoes", "test tube", "")),
    ],
)
def test_names_of_folders(name: str, split: str) -> None:
    """Rule 2."""
    path = f"{name}/x".strip("/")
    assert place(*folders(path, "other"))[0] == ((split, "x") if split else ("", path))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train.npy", "training-set.npy", "train-00000-of-00002.parquet", "train/a.npy")),
        *((name, "test") for name in ("TestSet.npy", "validation-00000-of-00002.parquet", "val.npz", "cats/test.npy")),
        *((name, "") for name in ("valley.npy", "trains.npy", "testament.npy", "contest.npy", "pretrain.npy")),
        *((name, "train") for name in ("imagenet1k-train-0000.tar", "x_train.npy", "kmnist-train-imgs.npz")),
        *((name, "test") for name in ("imagenet1k-validation-00.tar", "cifar10_test.tar")),
        ("train/test.npy", "train"),
    ],
)
def test_names_of_files(name: str, split: str) -> None:
    """Rule 3."""
    assert place(*files(name)) == [(split, "")]


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


@pytest.mark.parametrize("folder", ["", "data", "data/more"])
def test_if_the_source_gives_labels_folders_give_none(folder: str) -> None:
    """Rule 4."""
    entries = [Entry(name=f"{n}", label=label, folder=folder) for n, label in enumerate(("3", "4", ""))]
    assert place(*entries) == [("", "3"), ("", "4"), ("", "")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": "ab", "val": "ab", "test": "ab"}, {"train": "ab", "": "ab", "test": "ab"}),
        ({"train": "ab", "val": "ab"}, {"train": "ab", "test": "ab"}),
        ({"train": "ab", "val": "ab", "test": ""}, {"train": "ab", "test": "ab", "": ""}),
        ({"train": "", "val": "", "test": ""}, {"train": "", "": "", "test": ""}),
        ({"train": "", "val": "ab", "test": ""}, {"train": "", "": "ab", "test": ""}),
        ({"": "ab", "test": "ab"}, {"": "ab", "test": "ab"}),
    ],
)
def test_which_images_are_held_out(given: dict[str, str], expected: dict[str, str]) -> None:
    """Rules 5 and 6: published test images often lack their labels; then validation has them."""
    counts = {(split, label): 1 for split, labels in given.items() for label in labels or [""]}
    assert set(settled(counts, from_folders=True).values()) == {
        (of, label) for of, labels in expected.items() for label in labels or [""]
    }


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["imgs/cat", "imgs/dog"], ["cat"], (["cat", "dog"], ["cat"])),
        (["set-train/cat", "set-train/dog"], ["set-test/dog"], (["cat", "dog"], ["dog"])),
        (["cat/a", "cat/b"], ["cat/a", "dog/x"], (["cat/a", "cat/b"], ["cat/a", "dog/x"])),
        (["Greek/1", "Greek/2"], ["Hebrew/1"], (["Greek/1", "Greek/2"], ["Hebrew/1"])),
        (["cat", "dog"], ["images"], (["cat", "dog"], ["images"])),
        (["cat", "dog"], ["eel"], (["cat", "dog"], ["eel"])),
    ],
)
def test_folders_around_one_split(train: list[str], test: list[str], expected: tuple[list[str], list[str]]) -> None:
    """Rule 7."""
    counts = {("train", label): 1 for label in train} | {("test", label): 1 for label in test}
    assert all(cell == change for cell, change in settled(counts, from_folders=False).items()), "labels are as given"
    changes = settled(counts, from_folders=True)
    assert [changes["train", label][1] for label in train] == expected[0]
    assert [changes["test", label][1] for label in test] == expected[1]


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("seg_train/a", "seg_test/a"), ["seg_train", "seg_test"]),
        (("x/DIV2K_train_HR", "x/DIV2K_valid_HR"), ["DIV2K_train_HR", "DIV2K_valid_HR"]),
        (("train_256x256", "val_256x256"), ["train_256x256", "val_256x256"]),
        (("bullet train", "cat"), []),
        (("cat", "dog"), []),
        (("pretrained", "contest"), []),
    ],
)
def test_splits_that_are_only_a_part_of_the_name(paths: tuple[str, ...], named: list[str]) -> None:
    """Rule 8."""
    survey = Survey()
    for entry in folders(*paths):
        survey.add(entry)
    assert survey.hidden_splits() == named


PATHS = st.lists(st.sampled_from(["train", "test", "val", "cat", "dog", "a"]), max_size=3).map("/".join)


@given(paths=st.lists(PATHS, min_size=1, max_size=6), around=st.sampled_from(["x", "x/y", "deep/er/still"]))
def test_folders_around_everything_are_ignored(paths: list[str], around: str) -> None:
    """Rule 1."""
    if not any("/" in path for path in paths) or len({path.split("/")[0] for path in paths}) == 1:
        paths = [*paths, "cat/inside", "other/inside"]
    assert place(*folders(*(f"{around}/{path}".rstrip("/") for path in paths))) == place(*folders(*paths))


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
