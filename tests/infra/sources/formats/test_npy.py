"""Broken .npy files and labels are named, and no pickle is ever loaded."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from tests.infra.sources.kinds.test_arrays import GOOD, header, noise, npy, source


class Marker:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


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
    "floats": (npy(np.zeros((3, 4, 4))), "float64, which does not say what is white"),
    "wide integers": (npy(np.zeros((3, 4, 4), dtype=np.int64)), "int64, which does not say what is white"),
    "complex": (npy(np.zeros((3, 4, 4), dtype=complex)), "complex128, not numbers"),
    "fields": (npy(np.zeros(3, dtype=[("a", "u1"), ("b", "u1")])), "not numbers"),
    "objects": (npy(np.array([1, "a"], dtype=object)), "Python objects"),
    "channels in the middle": (npy(noise(3, 8, 3, 8)), "transpose"),
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
        (npy(np.arange(6).reshape(3, 1, 2)), "there are 3"),
        (npy(np.zeros(3, np.complex64)), "complex64, not numbers"),
        (npy(np.array(["a" * 300] * 3)), "over 256"),
        (npy(np.array([b"\xff"] * 3)), "not Unicode"),
        (header("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\xff" * 12), "not Unicode"),
        (header("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\0\xd8\0\0" * 3), "not Unicode"),
        (header("{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }"), "other bytes"),
        (npy(np.arange(3))[:-1], "other bytes"),
        (b"", "not a .npy"),
    ],
    ids=["too many", "cubes", "complex", "long", "no UTF-8", "no character", "surrogate", "no size", "cut", "empty"],
)
def test_broken_labels_are_named(tmp_path: Path, labels: bytes, cause: str) -> None:
    (tmp_path / "a.npy").write_bytes(GOOD)
    (tmp_path / "a-labels.npy").write_bytes(labels)
    with pytest.raises(InputError, match=cause) as caught:
        list(source(tmp_path).find())
    assert caught.value.item.endswith("a-labels.npy")
