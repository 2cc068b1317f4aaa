"""NumPy's files: pixels and labels come back as saved, and whatever else is in such a file is refused by name."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.source import Entry, Other
from tests.infra.sources.placed import placed

Pixels = NDArray[np.uint8]


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def source(folder: Path) -> ArraySource:
    return ArraySource(FileSet((str(folder),)))


def entries(folder: Path) -> list[Entry]:
    return placed(source(folder))


def pixels(folder: Path, some: list[Entry]) -> list[Pixels]:
    reader = source(folder)
    contents = list(reader.read(some))
    assert len(contents) == len(some)
    assert all(isinstance(content, bytes) for content in contents)
    return [np.asarray(reader.decode(entry, content)) for entry, content in zip(some, contents, strict=True)]


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(text: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy by the description of the format: magic, version, length, a literal of a dict."""
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + size + text.encode() + b"\n" + body


GOOD = npy(noise(3, 4, 4))


def archive(**arrays: Pixels) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


WHOLE = archive(images=noise(3, 4, 4))


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 4, 6, 1), (5, 4, 6, 3), (5, 4, 6, 4)])
@pytest.mark.parametrize("kind", ["npy", "npz", "packed npz"])
def test_every_image_as_saved(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    images = noise(*shape)
    if kind == "npy":
        np.save(tmp_path / "a.npy", images)
    else:
        (np.savez_compressed if kind == "packed npz" else np.savez)(tmp_path / "a.npz", images=images)
    found = entries(tmp_path)
    assert len({entry.name for entry in found}) == 5
    assert np.array_equal(np.stack(pixels(tmp_path, found)).reshape(shape), images)
    # A unit of work is any run of them.
    assert np.array_equal(np.stack(pixels(tmp_path, found[2:4])).reshape(2, *shape[1:]), images[2:4])


def test_order_and_others(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    np.save(tmp_path / "cats" / "b.npy", noise(1, 4, 4))
    np.save(tmp_path / "a.npy", noise(2, 4, 4))
    (tmp_path / "notes.txt").write_text("x")
    found = list(source(tmp_path).find())
    assert [entry.name for entry in found] == [
        "a.npy/000000", "a.npy/000001", "cats/b.npy/000000", "notes.txt",
    ]  # fmt: skip
    assert [entry.label for entry in entries(tmp_path)] == ["", "", "cats"]
    assert found[3] == Other("notes.txt")


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32, 1), (8, 8, 4)])
def test_one_image_is_not_taken_for_grey_ones(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", noise(*shape))
    with pytest.raises(InputError, match=r"one image, or .* grey ones"):
        entries(tmp_path)


def test_of_a_large_file_only_the_header_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(header("{'descr': '|u1', 'fortran_order': False, 'shape': (65536, 1024, 1024), }"))
        file.truncate(file.tell() + (64 << 30))
    found = list(source(tmp_path).find())
    assert len(found) == 65536
    assert not pixels(tmp_path, [found[-1]])[0].any()


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_file_that_changed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD if name == "a.npy" else WHOLE)
    found = entries(tmp_path)
    (tmp_path / name).write_bytes(npy(noise(3, 4, 4) ^ 1) if name == "a.npy" else archive(images=noise(3, 4, 4) ^ 1))
    with pytest.raises(IntegrityError, match=f"{name}: changed"):
        list(source(tmp_path).read(found))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(GOOD)
    reading = source(tmp_path).read(entries(tmp_path))
    next(reading)
    (tmp_path / "a.npy").write_bytes(npy(noise(3, 4, 4) ^ 1))
    with pytest.raises(IntegrityError, match="changed"):
        list(reading)
