"""MNIST's format: read exactly, refused with the file's name where anything does not add up."""

import gzip
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, IntegrityError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.fit import fit
from infra.sources.kinds.idx import IdxSource
from infra.sources.reading import Reading
from infra.sources.shape import Shape
from infra.sources.source import Entry, NoClasses, Other

COUNTS = {"train": 12, "t10k": 5}


def idx(array: NDArray[np.uint8], kind: int = 0x08) -> bytes:
    """The format as http://yann.lecun.com/exdb/mnist describes it: 0 0 kind dims, sizes big-endian, values."""
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def images(part: str) -> NDArray[np.uint8]:
    return np.random.default_rng(len(part)).integers(0, 256, (COUNTS[part], 6, 6), dtype=np.uint8)


def labels(part: str) -> NDArray[np.uint8]:
    return (np.arange(COUNTS[part]) % 4).astype(np.uint8)


def write(folder: Path, *, gzipped: bool = False) -> IdxSource:
    for part in COUNTS:
        for kind, array in (("images-idx3", images(part)), ("labels-idx1", labels(part))):
            name, data = f"{part}-{kind}-ubyte", idx(array)
            (folder / f"{name}.gz" if gzipped else folder / name).write_bytes(gzip.compress(data) if gzipped else data)
    return IdxSource(FileSet((str(folder),)))


def found(source: IdxSource) -> list[Entry]:
    entries = list(source.find())
    assert all(isinstance(entry, Entry) for entry in entries)
    return entries


def pixels(source: IdxSource, entries: list[Entry]) -> NDArray[np.uint8]:
    read = zip(entries, source.read(entries), strict=True)
    return np.stack(
        [fit(source.decode(entry, content), Shape(height=6, width=6, channels=1), "x")[0] for entry, content in read]
    )


@pytest.mark.parametrize("gzipped", [False, True])
def test_every_image_label_and_split(tmp_path: Path, gzipped: bool) -> None:
    source = write(tmp_path, gzipped=gzipped)
    entries = found(source)
    assert Counter(entry.split for entry in entries) == {"train": 12, "test": 5}
    assert len({entry.name for entry in entries}) == 17
    in_order = [entry for split in ("train", "test") for entry in entries if entry.split == split]
    assert [entry.label for entry in in_order] == [str(label) for label in (*labels("train"), *labels("t10k"))]
    assert np.array_equal(pixels(source, in_order), np.concatenate((images("train"), images("t10k"))))


def test_files_follow_each_other_in_the_order_of_their_names(tmp_path: Path) -> None:
    """So that a listing is one pass, and each part of it reads few files."""
    entries = found(write(tmp_path))
    assert [entry.file for entry in entries] == sorted(entry.file for entry in entries)


def test_some_of_them_in_any_order(tmp_path: Path) -> None:
    source = write(tmp_path)
    entries = {entry.name: entry for entry in found(source)}
    some = [entries[name] for name in ("train/000007", "test/000001", "train/000000")]
    assert np.array_equal(pixels(source, some), np.stack((images("train")[7], images("t10k")[1], images("train")[0])))


def test_gzipped_or_not_are_the_same_images(tmp_path: Path) -> None:
    sources = []
    for name, gzipped in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        sources.append(write(tmp_path / name, gzipped=gzipped))
    plain, zipped = map(found, sources)
    assert [(e.name, e.at, e.split, e.label) for e in plain] == [(e.name, e.at, e.split, e.label) for e in zipped]
    assert list(sources[0].read(plain)) == list(sources[1].read(zipped))


def test_where_there_are_both_the_plain_ones_count(tmp_path: Path) -> None:
    write(tmp_path, gzipped=True)
    assert not any(entry.file.endswith(".gz") for entry in found(write(tmp_path)))


TRAIN = idx(images("train"))
BROKEN = {
    "empty": b"",
    "short": TRAIN[:10],
    "wrong zeros": b"\x01" + TRAIN[1:],
    "floats": TRAIN[:2] + b"\x0d" + TRAIN[3:],
    "two dimensions": TRAIN[:3] + b"\x02" + TRAIN[4:],
    "labels in the place of images": idx(labels("train")),
    "a png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "cut": TRAIN[:-1],
    "too long": TRAIN + b"\0",
    "sizes whose product overflows": TRAIN[:4] + b"\xff" * 12 + TRAIN[16:],
    "sizes whose product wraps to 0": TRAIN[:4] + struct.pack(">3I", 1 << 31, 1 << 31, 4),
    "no images": idx(np.zeros((0, 6, 6), dtype=np.uint8)),
    "images of no size": idx(np.zeros((12, 0, 6), dtype=np.uint8)),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_broken_file_is_named(tmp_path: Path, kind: str, gzipped: bool) -> None:
    source = write(tmp_path, gzipped=gzipped)
    name = "train-images-idx3-ubyte" + (".gz" if gzipped else "")
    (tmp_path / name).write_bytes(gzip.compress(BROKEN[kind]) if gzipped else BROKEN[kind])
    with pytest.raises(InputError) as caught:
        found(source)
    assert caught.value.exit_code == 3
    assert caught.value.item == str(tmp_path / name)


WHOLE_GZ = gzip.compress(TRAIN)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE_GZ[: len(WHOLE_GZ) // 2],
        WHOLE_GZ[:-1],
        WHOLE_GZ[:5],
        b"not gzip at all",
        WHOLE_GZ[:20] + bytes(20) + WHOLE_GZ[40:],
        WHOLE_GZ[:-6] + bytes([WHOLE_GZ[-6] ^ 1]) + WHOLE_GZ[-5:],
    ],
    ids=["half", "a byte short", "header only", "no gzip", "zeroed inside", "checksum"],
)
def test_a_broken_gzip_is_named(tmp_path: Path, data: bytes) -> None:
    source = write(tmp_path, gzipped=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(data)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz"):
        found(source)


def test_counts_that_do_not_agree(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels("t10k")[:-1]))
    with pytest.raises(InputError, match="holds 5 images and there are 4 labels"):
        found(source)


@pytest.mark.parametrize("part", COUNTS)
@pytest.mark.parametrize(("gone", "there"), [("images-idx3", "labels-idx1"), ("labels-idx1", "images-idx3")])
def test_a_file_without_its_other_is_named(tmp_path: Path, part: str, gone: str, there: str) -> None:
    source = write(tmp_path)
    (tmp_path / f"{part}-{gone}-ubyte").unlink()
    with pytest.raises(InputError, match=f"a file of their {gone[:6]} is missing") as caught:
        found(source)
    assert caught.value.item == str(tmp_path / f"{part}-{there}-ubyte")
    assert Term.SOURCE in caught.value.remedy


FORMS = {
    "with a dot": lambda part, kind, dims: f"{part}-{kind}.idx{dims}-ubyte",
    "capitals": lambda part, kind, dims: f"{part}-{kind}-IDX{dims}-UBYTE".upper(),
    "EMNIST": lambda part, kind, dims: f"gzip/emnist-letters-{part.replace('t10k', 'test')}-{kind}-idx{dims}-ubyte",
    "folders of their names": lambda part, kind, dims: f"{part}-{kind}-idx{dims}-ubyte/{part}-{kind}-idx{dims}-ubyte",
    "folders of splits": lambda part, kind, dims: f"{part.replace('t10k', 'test')}/{kind}-idx{dims}-ubyte",
    "by content": lambda part, kind, dims: f"{part}_{kind}.bin",
    "by content alone": lambda part, kind, dims: f"{part}.{'xy'[dims == 1]}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gzipped", [False, True])
def test_the_names_that_files_have_elsewhere(tmp_path: Path, form: str, gzipped: bool) -> None:
    for part in COUNTS:
        for kind, array in (("images", images(part)), ("labels", labels(part))):
            path = tmp_path / (FORMS[form](part, kind, array.ndim) + ".gz" * gzipped)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(idx(array)) if gzipped else idx(array))
    entries = found(IdxSource(FileSet((str(tmp_path),))))
    assert [(entry.split, entry.label) for entry in entries] == [
        (split, str(label)) for split, part in (("test", "t10k"), ("train", "train")) for label in labels(part)
    ]


def test_images_alone_and_one_split_alone(tmp_path: Path) -> None:
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(images("train")))
    source = IdxSource(FileSet((str(tmp_path),)))
    assert {(entry.split, entry.label) for entry in found(source)} == {("", "")}
    assert np.array_equal(pixels(source, found(source)), images("train"))
    (tmp_path / "a-images-idx3-ubyte").rename(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels("train")))
    assert {entry.split for entry in found(source)} == {"train"}
    assert [entry.label for entry in found(source)] == [str(label) for label in labels("train")]


def test_rows_of_labels_as_in_qmnist(tmp_path: Path) -> None:
    rows = np.stack((labels("train").astype(">i4"), np.arange(100, 112)), axis=1).astype(">i4")
    (tmp_path / "qmnist-train-images-idx3-ubyte").write_bytes(idx(images("train")))
    (tmp_path / "qmnist-train-labels-idx2-int").write_bytes(idx(rows, kind=0x0C))
    entries = found(IdxSource(FileSet((str(tmp_path),))))
    assert [entry.label for entry in entries] == [str(label) for label in labels("train")]


ONE_HOT = np.eye(3, dtype=np.uint8)[np.arange(12) % 3]
SEVERAL = np.array([[1, 1, 0], [0, 0, 1]] * 6, dtype=np.uint8)


def test_rows_of_zeros_and_ones_are_one_hot_or_several_labels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images("train")))
    (tmp_path / "train-labels-idx2-ubyte").write_bytes(idx(ONE_HOT))
    assert [entry.label for entry in found(IdxSource(FileSet((str(tmp_path),))))] == [str(n % 3) for n in range(12)]
    (tmp_path / "train-labels-idx2-ubyte").write_bytes(idx(SEVERAL))
    trouble, *entries = IdxSource(FileSet((str(tmp_path),))).find()
    assert trouble == NoClasses("train-labels-idx2-ubyte: several labels per image", "column:NUMBER")
    assert {entry.label for entry in entries if isinstance(entry, Entry)} == {""}
    for column in range(3):
        chosen = IdxSource(FileSet((str(tmp_path),)), Reading(labels=f"column:{column}"))
        assert [entry.label for entry in found(chosen)] == [str(row[column]) for row in SEVERAL]


def test_two_sets_in_one_folder_are_refused_with_the_glob_that_names_one(tmp_path: Path) -> None:
    for name in ("letters", "digits"):
        (tmp_path / f"emnist-{name}-train-images-idx3-ubyte").write_bytes(idx(images("train")))
    (tmp_path / "notes.txt").write_text("no idx file")
    with pytest.raises(InputError, match=r"is of a second set \(emnist-letters beside emnist-digits\)") as caught:
        found(IdxSource(FileSet((str(tmp_path),))))
    assert "as in emnist-letters-*" in caught.value.remedy
    source = IdxSource(FileSet((str(tmp_path / "emnist-letters-*"),)))
    assert len(found(source)) == COUNTS["train"]


def test_other_files_are_counted(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("mapping.txt", "README", "a.gz"):
        (tmp_path / name).write_bytes(b"0 48\n" * 9)
    entries = list(IdxSource(FileSet((str(tmp_path),))).find())
    assert [entry.name for entry in entries if isinstance(entry, Other)] == ["README", "a.gz", "mapping.txt"]


def test_no_such_folder() -> None:
    with pytest.raises(InputError, match="is not there"):
        found(IdxSource(FileSet(("/no/such/folder",))))


def test_a_file_changed_after_it_was_found(tmp_path: Path) -> None:
    source = write(tmp_path)
    entries = found(source)
    path = tmp_path / "train-images-idx3-ubyte"
    changed = images("train")
    changed[3, 2, 2] ^= 1
    path.write_bytes(idx(changed))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert len(list(source.read([e for e in entries if e.split == "test"]))) == 5, "the other one is as it was"
    with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
        list(source.read(entries))
    assert (caught.value.item, caught.value.exit_code) == (str(path), 6)
