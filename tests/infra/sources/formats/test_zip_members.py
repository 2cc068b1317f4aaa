"""Zip archives made to harm: each is refused by one line or its members are only named; nothing is ever written."""

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Entry, Other
from tests.infra.sources.formats.archives import ZIP, listed, patched, refused, zipped

pytestmark = pytest.mark.usefixtures("nothing_is_written")

BAD_ZIPS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has no zip directory at its end"),
    "text": (b"hello " * 99, "has no zip directory at its end"),
    "garbage at the end": (ZIP + b"x", "has no zip directory at its end"),
    "end only, of something": (ZIP[-22:], "has a damaged zip directory"),
    "directory too long": (patched(ZIP, b"PK\5\6", 12, b"\xff\xff\xff\x7f"), "has a damaged zip directory"),
    "directory too short": (patched(ZIP, b"PK\5\6", 12, b"\x09\0\0\0"), "has a damaged zip directory"),
    "directory elsewhere": (patched(ZIP, b"PK\5\6", 16, b"\xff\xff\xff\x7f"), "has a damaged zip directory"),
    "many disks": (patched(ZIP, b"PK\5\6", 4, b"\1\0"), "has a damaged zip directory"),
    "record damaged": (ZIP.replace(b"PK\1\2", b"PK\1\3"), "has a damaged zip directory"),
    "record's name too long": (patched(ZIP, b"PK\1\2", 28, b"\xff\xff"), "has a damaged zip directory"),
    "zip64 nowhere": (
        ZIP[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 1 << 60, 1) + ZIP[-22:],
        "has a damaged zip directory",
    ),
    "overlap": (patched(ZIP, b"PK\1\2", 20, struct.pack("<L", 900)), "is a bomb: its members overlap"),
    "label damaged": (zipped(("a.png", b""), ("a.cls", b"77")).replace(b"77", b"78"), r"a\.cls: is damaged"),
    "label encrypted": (patched(zipped(("a.png", b""), ("a.cls", b"7")), b"PK\1\2", 8, b"\1"), r"a\.cls: is encrypted"),
    "label too large": (zipped(("a.png", b""), ("a.cls", b"7" * 70000)), r"a\.zip!a\.cls: is no label: larger than 64"),
    "name too long": (zipped(("a" * 5000, b"")), "has a member whose name is 5000 bytes long"),
}


class TestRefused:
    @pytest.mark.parametrize("name", BAD_ZIPS)
    def test_zip(self, tmp_path: Path, name: str) -> None:
        refused(tmp_path / "a.zip", *BAD_ZIPS[name])

    @pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644, 0o060644])
    def test_those_of_zip(self, tmp_path: Path, mode: int) -> None:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo("evil.png")
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, "/etc/passwd")
        assert listed(tmp_path / "a.zip", buffer.getvalue()) == [Other("a.zip!evil.png")]


class TestBombs:
    def test_many_members_that_share_one_body(self, tmp_path: Path) -> None:
        """As in Fifield's bomb: a small file whose directory names the same bytes again and again."""
        data = zipped(("a.png", b"x" * 1000))
        start = data.index(b"PK\1\2")
        directory = data[start:-22] * 50
        end = patched(data[-22:], b"PK\5\6", 8, struct.pack("<HHLL", 50, 50, len(directory), start))
        refused(tmp_path / "a.zip", data[:start] + directory + end, "is a bomb: its members overlap")

    def test_a_member_that_is_larger_than_it_says(self, tmp_path: Path) -> None:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", bytes(50 << 20))
        (entry,) = listed(tmp_path / "a.zip", patched(buffer.getvalue(), b"PK\1\2", 24, struct.pack("<L", 100)))
        (content,) = ZipSource(FileSet((str(tmp_path / "a.zip"),))).read([entry])
        assert isinstance(content, InputError)
        assert "is damaged" in str(content)


def test_backslashes_of_windows_are_folders(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("set\\train\\", "set\\train\\cat\\a.png", "set\\test\\cat\\b.png"):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, b"image" * (name[-1] != "\\"))
    found = listed(tmp_path / "a.zip", buffer.getvalue())
    assert [(entry.name, entry.folder) for entry in found] == [  # type: ignore[union-attr]
        ("a.zip!set/train/cat/a.png", "set/train/cat"),
        ("a.zip!set/test/cat/b.png", "set/test/cat"),
    ]


def test_a_backslash_of_unix_is_part_of_a_name(tmp_path: Path) -> None:
    (entry,) = listed(tmp_path / "a.zip", zipped(("a\\b.png", b"image")))
    assert entry.name == "a.zip!a\\\\b.png"


NAMES = {
    "UTF-8 by flag": ("é☃".encode(), True, b"", "é☃"),
    "UTF-8 without the flag": ("é☃".encode(), False, b"", "é☃"),
    "code page 437": (b"caf\x82", False, b"", "café"),
    "a name in Unicode beside it": (
        b"caf_",
        False,
        struct.pack("<2HBL", 0x7075, 5 + len("caf☃.png".encode()), 1, zlib.crc32(b"caf_.png")) + "caf☃.png".encode(),
        "caf☃",
    ),
    "one of another name": (
        b"caf_",
        False,
        struct.pack("<2HBL", 0x7075, 5 + 1, 1, zlib.crc32(b"other")) + b"x",
        "caf_",
    ),
}


@pytest.mark.parametrize(("stored", "flag", "extra", "expected"), NAMES.values(), ids=NAMES.keys())
def test_the_codings_of_names(tmp_path: Path, stored: bytes, flag: bool, extra: bytes, expected: str) -> None:
    info = zipfile.ZipInfo("x" * len(stored) + ".png")
    info.extra = extra
    info.create_system = 0
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"image")
    data = bytearray(buffer.getvalue().replace(b"x" * len(stored), stored))
    if flag:
        data[data.rindex(b"PK\1\2") + 9] |= 8
    (entry,) = listed(tmp_path / "a.zip", bytes(data))
    assert entry.name == f"a.zip!{expected}.png"


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (12, "bzip2"), (7, "method 7")])
def test_another_packing_is_named_with_what_to_do(tmp_path: Path, method: int, name: str) -> None:
    data = patched(zipped(("a.png", b"image")), b"PK\1\2", 10, method.to_bytes(2, "little"))
    (entry,) = listed(tmp_path / "a.zip", data)
    assert isinstance(entry, Entry)
    (content,) = ZipSource(FileSet((str(tmp_path),))).read([entry])
    assert isinstance(content, InputError)
    assert content.cause == f"is packed by {name}, not by deflate"
    assert content.remedy.startswith("pack it anew with deflate, or unpack it and set ")
