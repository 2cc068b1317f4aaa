"""MNIST's format: read exactly, refused with the file's name where anything does not add up."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, IntegrityError
from infra.sources.idx import IdxSource
from infra.sources.source import fit

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
    return IdxSource(str(folder))


@pytest.mark.parametrize("gzipped", [False, True])
def test_every_image_label_and_split(tmp_path: Path, gzipped: bool) -> None:
    source = write(tmp_path, gzipped=gzipped)
    listing, read = source.list(), source.reader()
    assert [item.split for item in listing.items] == ["train"] * 12 + ["test"] * 5
    assert [item.label for item in listing.items] == [*labels("train"), *labels("t10k")]
    assert listing.class_names == ["0", "1", "2", "3"]
    pixels = np.stack([fit(read(item), channels=1, size=6, name=item.name)[0] for item in listing.items])
    assert np.array_equal(pixels, np.concatenate((images("train"), images("t10k"))))


def test_gzipped_or_not_is_the_same_listing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert write(tmp_path / "a").list() == write(tmp_path / "b", gzipped=True).list()


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
        source.list()
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
        source.list()


def test_counts_that_do_not_agree(tmp_path: Path) -> None:
    source = write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels("t10k")[:-1]))
    with pytest.raises(InputError, match="5 test images but 4 labels"):
        source.list()


@pytest.mark.parametrize("part", COUNTS)
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_missing_file_is_named(tmp_path: Path, part: str, kind: str) -> None:
    source = write(tmp_path)
    (tmp_path / f"{part}-{kind}-ubyte").unlink()
    with pytest.raises(InputError, match="is missing") as caught:
        source.list()
    assert f"{part}-{kind}-ubyte" in caught.value.item
    assert "prepare.source" in caught.value.remedy


def test_no_such_folder() -> None:
    with pytest.raises(InputError, match="is missing"):
        IdxSource("/no/such/folder").list()


def test_a_file_changed_after_it_was_listed(tmp_path: Path) -> None:
    source = write(tmp_path)
    items = source.list().items
    changed = images("train")
    changed[3, 2, 2] ^= 1
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(changed))
    read = source.reader()
    read(items[2])
    with pytest.raises(IntegrityError, match="train/000003") as caught:
        read(items[3])
    assert caught.value.exit_code == 6
