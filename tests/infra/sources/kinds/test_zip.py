"""Zip archives: the images of a folder, and one damaged member does not stop the others."""

import struct
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Content, Entry, Other
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture

FOLDER = {
    "train/cat/a.png": encoded(picture(1)),
    "train/dog/b.JPG": encoded(picture(2), "JPEG"),
    "test/dog/c é☃.webp": encoded(picture(3), "WEBP"),
    "test/.hidden/e.png": b"never seen",
    "__MACOSX/test/._d.png": b"never seen",
    "test/notes.txt": b"no image",
}


def packed(members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = comment
    return buffer.getvalue()


def source(path: Path) -> ZipSource:
    return ZipSource(FileSet((str(path),)))


def images(path: Path) -> list[Entry]:
    return placed(source(path))


def read(path: Path) -> list[Content]:
    return list(source(path).read(images(path)))


class TestRoundTrip:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_an_archive_holds_what_the_folder_holds(self, tmp_path: Path, method: int) -> None:
        (tmp_path / "a.ZIP").write_bytes(packed(FOLDER.items(), method))
        (tmp_path / "readme.txt").write_bytes(b"")
        entries, contents = images(tmp_path), read(tmp_path)
        assert [e.name for e in entries] == [f"a.ZIP!{name}" for name in list(FOLDER)[:3]]
        assert [(e.split, e.label) for e in entries] == [("train", "cat"), ("train", "dog"), ("test", "dog")]
        assert contents == list(FOLDER.values())[:3]
        found = source(tmp_path)
        assert [o.name for o in found.find() if isinstance(o, Other)] == ["a.ZIP!test/notes.txt", "readme.txt"]
        assert np.array_equal(np.asarray(found.decode(entries[0], FOLDER["train/cat/a.png"])), np.asarray(picture(1)))

    @pytest.mark.parametrize("wrapped", ["plain", "prefix", "comment", "false end", "streamed"])
    def test_wherever_the_directory_is(self, tmp_path: Path, wrapped: str) -> None:
        path, comment = tmp_path / "a.zip", {"comment": b"x" * 65535, "false end": b"PK\5\6" + bytes(30)}
        data = packed(FOLDER.items(), comment=comment.get(wrapped, b""))
        path.write_bytes(b"#!/bin/sh\n" * 9 + data if wrapped == "prefix" else data)
        if wrapped == "streamed":  # sizes after the data
            with path.open("wb") as file, zipfile.ZipFile(Unseekable(file), "w") as archive:
                for name, content in FOLDER.items():
                    archive.writestr(name, content)
        assert read(path) == list(FOLDER.values())[:3]

    def test_zip64(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        data = packed(FOLDER.items(), zipfile.ZIP_STORED)
        assert b"PK\6\6" in data
        assert b"\xff\xff\xff\xff" in data
        (tmp_path / "a.zip").write_bytes(data)
        assert read(tmp_path) == list(FOLDER.values())[:3]

    def test_a_directory_larger_than_what_is_read_at_a_time(self, tmp_path: Path) -> None:
        names = [f"{n:04d}{'x' * 240}.png" for n in range(5000)]
        (tmp_path / "a.zip").write_bytes(packed(((name, name.encode()) for name in names), zipfile.ZIP_STORED))
        assert read(tmp_path) == [name.encode() for name in names]

    def test_labels_and_splits_as_in_tar(self, tmp_path: Path) -> None:
        members = [("1.png", b""), ("1.cls", b"7"), ("2.json", b'{"label": "cat"}'), ("2.png", b""), ("3.png", b"")]
        (tmp_path / "train-0.zip").write_bytes(packed(members))
        assert [(e.split, e.label) for e in images(tmp_path)] == [("train", "7"), ("train", "cat"), ("train", "")]

    def test_names_that_come_again_differ(self, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate"):
            (tmp_path / "a.zip").write_bytes(packed([("a.png", b"1"), ("a.png", b"2")]))
        assert len({entry.name for entry in images(tmp_path)}) == 2
        assert read(tmp_path) == [b"1", b"2"]

    def test_one_that_changed_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        path.write_bytes(packed(FOLDER.items()))
        entries = images(path)
        path.write_bytes(packed([("a.png", b"else")]))
        with pytest.raises(IntegrityError, match="changed since it was listed"):
            list(source(path).read(entries))


class TestDamage:
    @pytest.mark.parametrize(
        ("field", "value", "cause"),
        [
            ("flags", 0x1, "is encrypted"),
            ("flags", 0x41, "is encrypted"),
            ("method", 99, "is packed by AES"),
            ("method", 12, "is packed by bzip2"),
            ("method", 14, "is packed by LZMA"),
            ("crc", 1, "is damaged"),
            ("size", 5, "is damaged"),
            ("size", 5000, "is damaged"),
            ("size", 300 << 20, "is larger than 256 MiB"),
            ("packed", 3, "is damaged|cannot be unpacked"),
            ("offset", 7, "is not where the zip directory says"),
            ("offset", 1 << 30, "is not where the zip directory says"),
        ],
    )
    def test_a_bad_member_is_told_and_the_others_are_read(
        self, tmp_path: Path, field: str, value: int, cause: str
    ) -> None:
        data = bytearray(packed([("a.png", b"a" * 2000), ("b.png", b"b" * 2000)]))
        place, form = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<L"), "packed": (20, "<L")}.get(
            field, (24 if field == "size" else 42, "<L")
        )
        struct.pack_into(form, data, data.index(b"PK\1\2") + place, value)
        (tmp_path / "a.zip").write_bytes(data)
        bad, good = read(tmp_path)
        assert isinstance(bad, InputError)
        with pytest.raises(InputError, match=cause):
            raise bad
        assert bad.item == "a.zip!a.png"
        assert good == b"b" * 2000

    def test_a_flipped_byte_in_the_data(self, tmp_path: Path) -> None:
        data = bytearray(packed([("a.png", b"a" * 99), ("b.png", b"b")], zipfile.ZIP_STORED))
        data[60] ^= 1
        (tmp_path / "a.zip").write_bytes(data)
        bad, good = read(tmp_path)
        assert isinstance(bad, InputError)
        assert str(bad) == "a.zip!a.png: is damaged: its length or checksum is not as stated - remove or repair it"
        assert good == b"b"

    def test_whatever_is_flipped_no_wrong_bytes_come_out(self, tmp_path: Path) -> None:
        contents = {b"one" * 20, b"two" * 20}
        whole = packed([("a.png", b"one" * 20), ("b.png", b"two" * 20), ("b.cls", b"7")])
        for place in range(len(whole)):
            data = bytearray(whole)
            data[place] ^= 0xFF
            (tmp_path / "a.zip").write_bytes(data)
            try:
                assert {content for content in read(tmp_path) if isinstance(content, bytes)} <= contents
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - most flips raise nothing

    def test_wherever_it_is_cut(self, tmp_path: Path) -> None:
        whole = packed(FOLDER.items())
        for length in range(len(whole)):
            (tmp_path / "a.zip").write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"a\.zip: has no zip directory at its end"):
                images(tmp_path)


class Unseekable:
    """A pipe, to which zipfile writes sizes after the data."""

    def __init__(self, file: BytesIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
