"""NumPy's files: pixels and labels come back as saved, and whatever else is in such a file is refused by name."""

import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, IntegrityError
from infra.sources.arrays import ArraySource
from infra.sources.files import FileSet
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


class Marker:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


GOOD = npy(noise(3, 4, 4))
HEAD = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"
BROKEN = {
    "empty": (b"", "not a .npy"),
    "header cut": (GOOD[:40], "not a .npy"),
    "version 3": (GOOD[:6] + b"\x03\0" + GOOD[8:], "not a .npy"),
    "header of no dict": (header("[1, 2]"), "not a .npy"),
    "header that calls": (header("__import__('os').abort()"), "not a .npy"),
    "header of signs": (header("-" * 9000 + "1"), "not a .npy"),
    "header too long": (header(HEAD % "(3, 4, 4)" + " " * 20000), "not a .npy"),
    "header of 4 GB": (b"\x93NUMPY\x02\0\xff\xff\xff\xff{", "not a .npy"),
    "cut": (GOOD[:-1], "holds 47"),
    "too long": (GOOD + b"\0", "holds 49"),
    "huge": (header(HEAD % "(99999999999, 99999999999, 9)"), "says it holds"),
    "product that wraps to 0": (header(HEAD % "(4294967296, 4294967296, 1)"), "says it holds"),
    "negative": (header(HEAD % "(-3, -4, 4)", bytes(48)), "holds nothing"),
    "of no size": (npy(noise(3, 0, 4)), "holds nothing"),
    "floats": (npy(np.zeros((3, 4, 4))), "float64, not uint8"),
    "booleans": (npy(np.zeros((3, 4, 4), dtype=bool)), "bool, not uint8"),
    "fields": (npy(np.zeros(3, dtype=[("a", "u1"), ("b", "u1")])), "not uint8"),
    "objects": (npy(np.array([1, "a"], dtype=object)), "Python objects"),
    "channels first": (npy(noise(3, 3, 8, 8)), "transpose"),
    "one image": (npy(noise(8, 8)), "shape"),
    "Fortran order": (npy(np.asfortranarray(noise(3, 4, 5))), "Fortran order"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_array_is_named(tmp_path: Path, kind: str, packed: bool) -> None:
    data, cause = BROKEN[kind]
    path = tmp_path / ("a.npz" if packed else "a.npy")
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", data)
    else:
        path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(source(tmp_path).find())
    assert cause in str(caught.value)
    assert str(path) in caught.value.item
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.npy", "a-labels.npy", "a.npz"])
def test_no_pickle_is_loaded(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    evil = np.array([Marker(marker)] * 3, dtype=object)
    np.save(tmp_path / "a.npy", noise(3, 4, 4))
    if name == "a.npz":
        np.savez(tmp_path / name, images=noise(3, 4, 4), labels=evil)
    else:
        np.save(tmp_path / name, evil)
    with pytest.raises(InputError, match="Python objects"):
        list(source(tmp_path).find())
    assert not marker.exists()
    np.load(tmp_path / name, allow_pickle=True)["labels" if name == "a.npz" else ...]
    assert marker.exists()


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        (npy(np.arange(4)), r"shape \(4,\), and there are 3"),
        (npy(np.arange(6).reshape(3, 2)), "there are 3"),
        (npy(np.zeros(3)), "float64, not integers"),
        (npy(np.array(["a" * 300] * 3)), "over 256"),
        (npy(np.array([b"\xff"] * 3)), "not Unicode"),
        (header("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\xff" * 12), "not Unicode"),
        (header("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\0\xd8\0\0" * 3), "not Unicode"),
        (header("{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }"), "other bytes"),
        (npy(np.arange(3))[:-1], "other bytes"),
        (b"", "not a .npy"),
    ],
    ids=["too many", "one-hot", "floats", "long", "no UTF-8", "no character", "surrogate", "no size", "cut", "empty"],
)
def test_broken_labels_are_named(tmp_path: Path, labels: bytes, cause: str) -> None:
    (tmp_path / "a.npy").write_bytes(GOOD)
    (tmp_path / "a-labels.npy").write_bytes(labels)
    with pytest.raises(InputError, match=cause) as caught:
        list(source(tmp_path).find())
    assert caught.value.item.endswith("a-labels.npy")


def archive(**arrays: Pixels) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


WHOLE = archive(images=noise(3, 4, 4))


def lying_size() -> bytes:
    """The directory says that the few bytes unpack to 2 GB."""
    place = WHOLE.rindex(b"PK\x01\x02")
    return WHOLE[: place + 24] + struct.pack("<I", 2 << 30) + WHOLE[place + 28 :]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "cannot be read as .npz"),
        (WHOLE[:-30], "cannot be read as .npz"),
        (WHOLE[:60], "cannot be read as .npz"),
        (GOOD, "cannot be read as .npz"),
        (WHOLE.replace(b"PK\x03\x04", b"PK\x03\x05"), "cannot be read as .npz"),
        (archive(), "its keys are none"),
        (archive(weights=noise(2, 2)), "its keys are weights"),
        (archive(images=noise(3, 4, 4), labels=noise(2)), "there are 3 images"),
        (archive(images=noise(2, 2)), "has the shape"),
        (lying_size(), "unpack to"),
    ],
)
def test_a_broken_archive_is_named(tmp_path: Path, data: bytes, cause: str) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=cause) as caught:
        list(source(tmp_path).find())
    assert str(tmp_path / "a.npz") in caught.value.item


def test_damage_within_an_archive(tmp_path: Path) -> None:
    images = noise(3, 400, 400)
    np.savez(tmp_path / "a.npz", images=images)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data.replace(images[2, 300].tobytes(), bytes(400)))
    found = entries(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read as \.npz .*CRC"):
        list(source(tmp_path).read(found[:1]))


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
