"""Zip archives made to harm: each is refused by one line or its members are only named; nothing is ever written."""

import struct
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Other
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
