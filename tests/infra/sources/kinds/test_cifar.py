"""CIFAR in each of its published forms: the same images, classes and splits, and damage named by its file."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.source import Entry, Other, Source
from tests.infra.sources.placed import placed

NAMES = [f"class-{n}" for n in range(100)]
COUNTS = {
    "data_batch_1": 4,
    "data_batch_2": 3,
    "data_batch_3": 1,
    "data_batch_4": 1,
    "data_batch_5": 2,
    "test_batch": 2,
}
COUNTS_100 = {"train": 5, "test": 3}


def pixels(name: str, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(len(name) + count).integers(0, 256, (count, 3072), dtype=np.uint8)


def labels(name: str, count: int, classes: int) -> list[int]:
    return [(7 * n + count) % classes for n in range(count)]


def parts(classes: int, version: str) -> dict[str, bytes]:
    """The files of a version, as https://www.cs.toronto.edu/~kriz/cifar.html describes them."""
    made = {}
    for name, count in (COUNTS if classes == 10 else COUNTS_100).items():
        x, y = pixels(name, count), labels(name, count, classes)
        if version == "binary":
            before = (lambda n: bytes([n])) if classes == 10 else (lambda n: bytes([n // 5, n]))
            made[f"{name}.bin"] = b"".join(before(n) + row.tobytes() for n, row in zip(y, x, strict=True))
        else:
            key = b"labels" if classes == 10 else b"fine_labels"
            made[name] = pickle.dumps({b"data": x, key: y, b"filenames": [b"a.png"] * count}, protocol=2)
    names = [name.encode() for name in NAMES[:classes]]
    if version == "binary":
        made["batches.meta.txt" if classes == 10 else "fine_label_names.txt"] = b"\n".join(names) + b"\n\n"
    else:
        key = b"label_names" if classes == 10 else b"fine_label_names"
        made["batches.meta" if classes == 10 else "meta"] = pickle.dumps({key: names}, protocol=0)
    return made


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for name, data in sorted(files.items(), reverse=True):
            info = tarfile.TarInfo(f"cifar/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes], *, packed: bool = False) -> CifarSource:
    folder.mkdir(exist_ok=True)
    for name, data in ({"cifar.tar.gz": archive(files)} if packed else files).items():
        (folder / name).write_bytes(data)
    return CifarSource(FileSet((str(folder),)))


def images(source: Source) -> list[tuple[str, str, bytes]]:
    found = placed(source)
    contents = source.read(found)
    return [
        (entry.split, entry.label, np.asarray(source.decode(entry, content)).tobytes())
        for entry, content in zip(found, contents, strict=True)
        if isinstance(content, bytes)
    ]


def truth(classes: int) -> list[tuple[str, str, bytes]]:
    return [
        ("test" if name.startswith("test") else "train", NAMES[label], row.reshape(3, 1024).T.tobytes())
        for name, count in sorted((COUNTS if classes == 10 else COUNTS_100).items())
        for row, label in zip(pixels(name, count), labels(name, count, classes), strict=True)
    ]


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_image_class_and_split(tmp_path: Path, classes: int, version: str, packed: bool) -> None:
    source = write(tmp_path, parts(classes, version), packed=packed)
    assert images(source) == truth(classes)
    found = [entry for entry in source.find() if isinstance(entry, Entry)]
    assert len({entry.name for entry in found}) == len(found)
    middle = list(source.read(found[3:7]))
    assert middle == list(source.read(found))[3:7]


def test_batches_are_numbered_by_all_headers(tmp_path: Path) -> None:
    """The numbers are in the digest of a listing: a folder and an extended header count too."""
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("cifar")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
            info = tarfile.TarInfo(f"cifar/{'é' if name == 'data_batch_2' else 'e'}/{name}.bin")
            info.size = len(BINARY[f"{name}.bin"])
            tar.addfile(info, io.BytesIO(BINARY[f"{name}.bin"]))
    found = CifarSource(FileSet((str(tmp_path),))).find()
    assert {entry.at[1] for entry in found if isinstance(entry, Entry)} == {2, 4, 5, 6, 7, 8}


def test_the_same_images_through_other_sources(tmp_path: Path) -> None:
    write(tmp_path / "cifar", parts(10, "binary"))
    for name, count in COUNTS.items():
        split = "test" if name.startswith("test") else "train"
        x = pixels(name, count).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        (tmp_path / "arrays" / split).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "arrays" / split / f"{name}.npy", x)
        y = [NAMES[label] for label in labels(name, count, 10)]
        np.save(tmp_path / "arrays" / split / f"{name}-labels.npy", np.array(y))
        for number, (image, label) in enumerate(zip(x, y, strict=True)):
            (tmp_path / "folder" / split / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "folder" / split / label / f"{name}-{number}.png")
    expected = sorted(truth(10))
    assert sorted(images(ArraySource(FileSet((str(tmp_path / "arrays"),))))) == expected
    assert sorted(images(FolderSource(FileSet((str(tmp_path / "folder"),))))) == expected


def test_without_names_the_classes_are_numbers(tmp_path: Path) -> None:
    files = {name: data for name, data in parts(10, "binary").items() if "meta" not in name}
    source = write(tmp_path, files | {"readme.html": b"x"})
    found = list(source.find())
    assert Other("readme.html") in found
    expected = [str(label) for name, count in sorted(COUNTS.items()) for label in labels(name, count, 10)]
    assert [entry.label for entry in found if isinstance(entry, Entry)] == expected


BINARY, PYTHON = parts(10, "binary"), parts(10, "python")


def batch(**changes: object) -> bytes:
    x = pixels("data_batch_1", 4)
    return pickle.dumps({"data": x, "labels": [0, 1, 2, 3]} | changes, protocol=3)


BROKEN = {
    "no batch": ({"readme.txt": b""}, "holds no batch"),
    "empty": (BINARY | {"data_batch_1.bin": b""}, "holds 0 bytes"),
    "cut": (BINARY | {"data_batch_1.bin": BINARY["data_batch_1.bin"][:-1]}, "no multiple of 3073"),
    "class 10 of 10": (BINARY | {"data_batch_1.bin": b"\x0a" + bytes(3072)}, "class 10 of 10"),
    **{
        f"no {missing}": ({n: d for n, d in BINARY.items() if n != f"{missing}.bin"}, f"has no {missing}")
        for missing in COUNTS
    },
    **{
        f"no {missing} of 100": ({n: d for n, d in parts(100, "python").items() if n != missing}, f"has no {missing}")
        for missing in COUNTS_100
    },
    "a gap in more": (BINARY | {"data_batch_7.bin": BINARY["data_batch_1.bin"]}, "has no data_batch_6"),
    "both versions": (BINARY | PYTHON, "once more"),
    "both sets": (BINARY | parts(100, "binary"), "both CIFAR-10 and CIFAR-100"),
    "too few names": (BINARY | {"batches.meta.txt": b"a\nb\n"}, "2 names of classes"),
    "a name twice": (BINARY | {"batches.meta.txt": b"a\na\n"}, "no list of the names"),
    "names in no UTF-8": (BINARY | {"batches.meta.txt": b"\xff\n"}, "not UTF-8"),
    "no names": (PYTHON | {"batches.meta": pickle.dumps({"a": 1}, protocol=2)}, "no list of the names"),
    "no pickle": (PYTHON | {"data_batch_1": b"hello"}, "not a pickle"),
    "pickle cut": (PYTHON | {"data_batch_1": PYTHON["data_batch_1"][:-9]}, "not a pickle"),
    "no data": (PYTHON | {"data_batch_1": pickle.dumps({"labels": [1]}, protocol=2)}, "no array"),
    "data of another shape": (PYTHON | {"data_batch_1": batch(data=np.zeros((4, 9), np.uint8))}, "shape (4, 9)"),
    "no rows": (PYTHON | {"data_batch_1": batch(data=np.zeros((0, 3072), np.uint8), labels=[])}, "shape (0, 3072)"),
    "floats": (PYTHON | {"data_batch_1": batch(data=np.zeros((4, 3072)))}, "array of f8"),
    "objects": (PYTHON | {"data_batch_1": batch(data=np.zeros((1, 3072), object))}, "array of O8"),
    "no labels": (PYTHON | {"data_batch_1": batch(labels=None)}, "no list of numbers"),
    "labels of text": (PYTHON | {"data_batch_1": batch(labels=["a"] * 4)}, "no list of numbers"),
    "negative labels": (PYTHON | {"data_batch_1": batch(labels=[-1] * 4)}, "no list of numbers"),
    "too few labels": (PYTHON | {"data_batch_1": batch(labels=[1])}, "4 images and 1 labels"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_set_is_named(tmp_path: Path, kind: str, packed: bool) -> None:
    files, cause = BROKEN[kind]
    with pytest.raises(InputError) as caught:
        list(write(tmp_path, files, packed=packed).find())
    assert cause in str(caught.value)
    assert str(tmp_path) in caught.value.item
    assert "\n" not in str(caught.value)


def member(name: str = "data_batch_1.bin", size: int = 3073, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, "/etc/passwd"
    return info.tobuf(tarfile.GNU_FORMAT)


WHOLE = archive(BINARY)
END = bytes(1024)
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "ends too soon"),
    "no gzip": (lambda: b"hello" * 200, "has no tar header"),
    "no tar": (lambda: gzip.compress(b"hello" * 200), "has no tar header"),
    "cut": (lambda: WHOLE[: len(WHOLE) // 2], "cannot be read (Compressed file ended"),
    "checksum": (lambda: WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "cannot be read (CRC check failed"),
    "member cut": (lambda: gzip.compress(member() + bytes(1000)), "ends too soon"),
    "no member": (lambda: gzip.compress(END), "holds no batch"),
    "8 GB": (lambda: gzip.compress(member(size=(8 << 30) - 1)), "unpacks to more"),
    "8 GB of extended header": (
        lambda: gzip.compress(member(size=8 << 30, kind=b"x")),
        "extended header of 8589934592",
    ),
    "link": (lambda: gzip.compress(member(size=0, kind=tarfile.SYMTYPE) + END), "holds no batch"),
    "hard link": (lambda: gzip.compress(member(size=0, kind=tarfile.LNKTYPE) + END), "holds no batch"),
    "device": (lambda: gzip.compress(member(size=0, kind=tarfile.CHRTYPE) + END), "holds no batch"),
    "members without end": (lambda: gzip.compress(member(size=0, name="x") * 2000), "more than 1000 members"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_broken_archive_is_named(tmp_path: Path, kind: str) -> None:
    make, cause = ARCHIVES[kind]
    (tmp_path / "cifar.tar.gz").write_bytes(make())
    with pytest.raises(InputError) as caught:
        list(CifarSource(FileSet((str(tmp_path),))).find())
    assert cause in str(caught.value)
    assert str(tmp_path) in caught.value.item


def test_a_pickle_of_the_set_runs_nothing(tmp_path: Path) -> None:
    evil = b"cposix\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "marker").encode()
    with pytest.raises(InputError, match=r"asks for posix\.system"):
        list(write(tmp_path / "set", PYTHON | {"data_batch_2": evil}).find())
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changed(tmp_path: Path, packed: bool) -> None:
    source = write(tmp_path, BINARY, packed=packed)
    found = [entry for entry in source.find() if isinstance(entry, Entry)]
    write(tmp_path, BINARY | {"data_batch_1.bin": bytes(4 * 3073)}, packed=packed)
    with pytest.raises(IntegrityError, match="changed"):
        list(source.read(found))
