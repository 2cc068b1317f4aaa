"""The machine for CIFAR's pickles: reads what Python wrote at every protocol, and never calls what a file asks for."""

import builtins
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from infra.sources.formats.unpickle import load

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
BATCH = {"data": PIXELS, "labels": [3, 200, 70000], "coarse": [-1, 2**80], "names": ["a", "ö"], "none": (None, True)}


def python_2(pixels: np.ndarray) -> bytes:
    """A batch with the instructions that the published files have: protocol 2 as Python 2 wrote it."""

    def text(value: bytes) -> bytes:
        short = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        return short + value

    shape = b"M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x04(K\x01" + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + text(pixels.tobytes()) + b"tb"
    )  # fmt: skip
    labels = b"]q\x02(" + b"".join(b"K" + bytes([n]) for n in range(len(pixels))) + b"e"
    return b"\x80\x02}q\x01(" + text(b"labels") + labels + text(b"data") + array + b"u."


def test_a_batch_of_python_2() -> None:
    found = load(python_2(PIXELS), "x")
    assert np.array_equal(found["data"], PIXELS)
    assert found["labels"] == [0, 1, 2]
    assert pickle.loads(python_2(PIXELS), encoding="bytes")[b"labels"] == [0, 1, 2]


def test_names_as_protocol_0_has_them() -> None:
    data = b"(dp1\nS'num'\np2\nI10000\nsS'label_names'\np3\n(lp4\nS'airplane'\np5\naS'c\\'at'\np6\nag5\nas."
    assert load(data, "x") == {"num": 10000, "label_names": [b"airplane", b"c'at", b"airplane"]}
    assert pickle.loads(data, encoding="bytes")[b"num"] == 10000


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_protocol(protocol: int, order: str) -> None:
    batch = BATCH | {"data": np.array(PIXELS, order=order)}
    found = load(pickle.dumps(batch, protocol=protocol), "x")
    assert np.array_equal(found.pop("data"), PIXELS)
    assert found == {key: value for key, value in BATCH.items() if key != "data"}


class Call:
    """Unpickled by Python, it calls."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


class WithPersistentId(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return "elsewhere" if value == "me" else None


def calls(marker: Path) -> dict[str, Call]:
    return {
        "posix.system": Call(os.system, f"touch {marker}"),
        "builtins.eval": Call(builtins.eval, f"open({str(marker)!r}, 'w')"),
        "builtins.exec": Call(builtins.exec, f"open({str(marker)!r}, 'w')"),
        "builtins.open": Call(builtins.open, str(marker), "w"),
        "builtins.getattr": Call(builtins.getattr, os, "system"),
        "numpy.load": Call(np.load, str(marker), None, True),
        "numpy.frombuffer": Call(np.frombuffer, b"1"),
        "pathlib.Path": Call(Path, str(marker)),
    }


@pytest.mark.parametrize("name", list(calls(Path("x"))))
@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    try:
        data = pickle.dumps({"data": calls(marker)[name]}, protocol=protocol)
    except TypeError:  # what cannot be pickled itself, a module
        data = b"c" + name.replace(".", "\n").encode() + b"\n(tR."
    with pytest.raises(InputError, match=r"asks for .*, which is refused") as caught:
        load(data, "batch")
    assert name.rsplit(".", 1)[1] in str(caught.value)
    assert (caught.value.item, caught.value.exit_code) == ("batch", 3)
    assert not marker.exists()


def test_the_marker_would_appear(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(calls(tmp_path / "marker")["posix.system"]))
    assert (tmp_path / "marker").exists()


def persistent(protocol: int, path: Path) -> bytes:
    with path.open("wb") as file:
        WithPersistentId(file, protocol).dump({"data": "me"})
    return path.read_bytes()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_persistent_id_is_followed(tmp_path: Path, protocol: int) -> None:
    with pytest.raises(InputError, match="PERSID, which is refused"):
        load(persistent(protocol, tmp_path / "x"), "x")


def reconstruct(dtype: bytes, arguments: bytes = b"K\x00\x85U\x01b\x87", state: bytes = b"") -> bytes:
    """An array of 2 elements of that type, with the instructions of numpy's own."""
    start = b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + arguments + b"R"
    kind = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R"
    return start + (state or b"(K\x01K\x02\x85" + kind + b"\x89U\x02abtb") + b"s."


KIND = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
REFUSED = {
    "empty": (b"", "ends too early"),
    "no instruction": (b"\x80\x02\xff", "no instruction"),
    "no stop": (b"\x80\x02}", "ends too early"),
    "nothing on the stack": (b".", "a value is missing"),
    "no mark": (b"u.", "a mark is missing"),
    "no dict": (b"].", "holds no dict"),
    "number as key": (b"}K\x01K\x02s.", "not a name"),
    "list as key": (b"}]K\x02s.", "not a name"),
    "odd items": (b"}(U\x01au.", "not a name"),
    "append to a dict": (b"}K\x01a.", "other than a list"),
    "unknown memo": (b"h\x05.", "no memo"),
    "cut number": (b"J\x01", "not enough data"),
    "cut name": (b"cnumpy", "newline"),
    "text that is none": (b"X\x02\0\0\0\xff\xff.", "utf-8"),
    "4 GB of bytes": (b"B\xff\xff\xff\xff.", "4294967295 bytes follow"),
    "exabytes": (b"\x8e" + b"\xff" * 8 + b".", "bytes follow"),
    "exabytes of text": (b"\x8d" + b"\xff" * 8 + b".", "not a pickle"),
    "negative length": (b"T\xff\xff\xff\xff.", "-1 bytes follow"),
    "long number": (b"I" + b"9" * 5000 + b"\n.", "not a pickle"),
    "2 GB of a number": (b"\x8b\xff\xff\xff\x7f.", "not a pickle"),
    "INST": (b"(ios\nsystem\n.", "INST, which is refused"),
    "OBJ": (b"(U\x01ao.", "OBJ, which is refused"),
    "NEWOBJ": (b"cnumpy\nndarray\n)\x81.", "NEWOBJ, which is refused"),
    "EXT1": (b"\x82\x01.", "EXT1, which is refused"),
    "buffer elsewhere": (b"\x97.", "NEXT_BUFFER, which is refused"),
    "call of text": (b"U\x06system)R.", "calls something that is not a name"),
    "call of ndarray": (b"cnumpy\nndarray\n)R.", "calls numpy.ndarray"),
    "call of dtype without a type": (b"cnumpy\ndtype\n)R.", "calls numpy.dtype"),
    "another class": (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n\x85R.", "calls numpy.core"),
    "codec that imports": (b"c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R.", "calls _codecs.encode"),
    "dotted name": (b"\x8c\x05numpy\x8c\x11mem.os.system.xyz\x93.", "asks for numpy.mem.os.system.xyz"),
    "global of no text": (b"]]\x93.", "asks for"),
    "objects": (reconstruct(b"O8"), "array of O8, not uint8"),
    "floats": (reconstruct(b"f8"), "array of f8, not uint8"),
    "2 bytes each": (reconstruct(b"u2"), "array of u2, not uint8"),
    "more bytes than the shape": (reconstruct(b"u1", state=b"(K\x01K\x01\x85" + KIND + b"\x89U\x02abtb"), "2 bytes"),
    "huge shape": (reconstruct(b"u1", state=b"(K\x01J\xff\xff\xff\x7f\x85" + KIND + b"\x89U\x02abtb"), "2 bytes"),
    "negative shape": (reconstruct(b"u1", state=b"(K\x01J\xfe\xff\xff\xff\x85" + KIND + b"\x89U\x02abtb"), "2 bytes"),
    "state of objects": (reconstruct(b"u1", state=b"(K\x01K\x02\x85" + KIND + b"\x89]tb"), "sets the state"),
    "state of a dict": (b"}}b.", "sets the state"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind: str) -> None:
    data, cause = REFUSED[kind]
    with pytest.raises(InputError) as caught:
        load(data, "batch")
    assert cause in str(caught.value)
    assert caught.value.item == "batch"
    assert "binary version" in caught.value.remedy


def test_a_small_file_takes_no_large_memo() -> None:
    assert load(b"}r\xff\xff\xff\x7f.", "x") == {}


def test_lists_without_end() -> None:
    with pytest.raises(InputError, match="instructions"):
        load(b"]" * 4_000_000, "x")


def test_damage_anywhere_is_an_input_error() -> None:
    whole = python_2(PIXELS[:1])
    for place in range(200):
        for changed in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :]):
            try:
                load(changed, "x")
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - most changes fail, some only change a value
