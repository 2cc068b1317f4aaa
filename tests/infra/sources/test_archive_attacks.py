"""Archives made to harm: each is refused by one line or its members are only named; nothing is ever written."""

import builtins
import bz2
import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files import FileSet
from infra.sources.source import Entry, Other
from infra.sources.tar import TarSource
from infra.sources.zip import ZipSource
from tests.pictures import encoded, picture

END = bytes(1024)
LINKS = {"sym": b"2", "hard": b"1", "char": b"3", "block": b"4", "fifo": b"6"}


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working folder stays empty, and no file is opened for writing but the archive itself."""
    empty, opened = tmp_path / "empty", io.open
    empty.mkdir()
    monkeypatch.chdir(empty)

    def guarded(file: object, mode: str = "r", *args: object, **kwargs: object) -> object:
        assert mode in ("r", "rb") or Path(str(file)).parent == tmp_path, f"{file} is opened to be written"
        return opened(file, mode, *args, **kwargs)

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", guarded)
    for name in ("symlink", "link", "mkdir", "mkfifo", "mknod", "rename", "chmod", "utime"):
        monkeypatch.setattr(os, name, None)
    yield
    assert list(empty.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"empty", "a.tar", "a.tgz", "a.tar.bz2", "a.zip"}


def header(name: bytes, size: int | bytes = 0, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A tar header, with a good checksum whatever it says; a size in bytes is taken as it is."""
    block = bytearray(512)
    octal = size if isinstance(size, bytes) else b"%011o\0" % size
    for place, value in (100, b"0000644\0"), (124, octal), (156, kind), (157, link), (257, b"ustar\00000"):
        block[place : place + len(value)] = value
    block[: len(name)] = name
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, content: bytes = b"", kind: bytes = b"0") -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def listed(path: Path, data: bytes) -> list[Entry | Other]:
    path.write_bytes(data)
    files = FileSet((str(path),))
    return list((ZipSource(files) if path.suffix == ".zip" else TarSource(files)).find())


def zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def patched(data: bytes, mark: bytes, place: int, value: bytes) -> bytes:
    at = data.rindex(mark) + place
    return data[:at] + value + data[at + len(value) :]


GOOD = member(b"a.png", b"image")
ZIP = zipped(("a.png", b"image" * 99), ("b.png", b"image" * 99))
SAMPLES = member(b"image.cls", b"7")
BAD_TARS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "at byte 0: ends too soon"),
    "no end": (GOOD, "at byte 1024: ends too soon"),
    "half a header": (GOOD + GOOD[:100], "at byte 1124: ends too soon"),
    "half a member": (header(b"a.png", 5000) + bytes(600), "ends too soon"),
    "an image": (encoded(picture(0, (40, 40))), "at byte 512: has no tar header"),
    "text": (b"hello " * 500, "has no tar header"),
    "gzip": (gzip.compress(GOOD * 50 + END), "ends too soon|has no tar header"),
    "zip": (ZIP, "at byte 512: has no tar header"),
    "bad checksum": (b"b" + GOOD[1:] + END, "at byte 512: has no tar header"),
    "second header damaged": (GOOD + b"b" + GOOD[1:] + END, "at byte 1536: has no tar header"),
    "checksum no number": (patched(GOOD, b"a.png", 148, b"abcdefgh") + END, "has no tar header"),
    "checksum negative": (patched(GOOD, b"a.png", 148, b"-0000012") + END, "has no tar header"),
    "size no number": (header(b"a.png", size=b"12x45678901") + END, "has a tar header with a bad size"),
    "size with underscores": (header(b"a.png", size=b"0_0_0_0_0_1") + END, "has a tar header with a bad size"),
    "size below zero": (header(b"a.png", size=b"\xff" * 12) + END, "has a tar header with a bad size"),
    "size minus one": (header(b"a.png", size=b"-0000000001") + END, "has a tar header with a bad size"),
    "size of 2^87": (header(b"a.png", size=b"\x80" + b"\xff" * 11) + END, "ends too soon"),
    "size of a terabyte": (header(b"a.png", size=b"\x80" + (1 << 40).to_bytes(11, "big")) + END, "ends too soon"),
    "goes on": (GOOD + END + GOOD + END, "goes on after its end"),
    "garbage at the end": (GOOD + END + b"x", "goes on after its end"),
    "giant extended header": (header(b"x", 2 << 20, b"x") + bytes(3 << 20), "has an extended header of 2097152 bytes"),
    "giant long name": (header(b"x", 2 << 20, b"L") + bytes(3 << 20), "has an extended header of 2097152 bytes"),
    "long name": (member(b"x", b"a" * 5000, b"L") + GOOD + END, "has a member whose name is 5000 bytes long"),
    "extended header of nothing": (member(b"x", b"0 path=a\n", b"x") + GOOD + END, "has a damaged extended header"),
    "extended header too long": (member(b"x", b"99 path=a\n", b"x") + GOOD + END, "has a damaged extended header"),
    "extended header of noise": (member(b"x", b"\xff" * 40, b"x") + GOOD + END, "has a damaged extended header"),
    "extended header without an end": (member(b"x", b"9 path=ab", b"x") + GOOD + END, "has a damaged extended header"),
    "extended size": (member(b"x", b"13 size=-512\n", b"x") + GOOD + END, "has an extended header with a bad size"),
    "extended giant size": (member(b"x", b"19 size=9999999999\n", b"x") + GOOD + END, "ends too soon"),
    "extended header last": (GOOD + member(b"x", b"9 a=bcde\n", b"x") + END, "ends after an extended header"),
    "label too large": (GOOD + member(b"a.cls", b"1" * 70000) + END, r"a\.tar!a\.cls: is no label: larger than 64 KiB"),
    "label not UTF-8": (GOOD + member(b"a.cls", b"\xff") + END, r"a\.tar!a\.cls: is no label"),
    "label empty": (GOOD + member(b"a.cls", b" \n") + END, r"a\.tar!a\.cls: is no label: ''"),
    "label of two lines": (GOOD + member(b"a.cls", b"1\n2") + END, r"a\.tar!a\.cls: is no label: '1\\n2'"),
    "label with ANSI": (GOOD + member(b"a.cls", b"\x1b[31m") + END, r"is no label: '\\x1b\[31m'"),
    "label of a page": (GOOD + member(b"a.cls", b"7" * 300) + END, r"a\.tar!a\.cls: is no label"),
    "label no JSON": (GOOD + member(b"a.json", b"{") + END, r"a\.tar!a\.json: is no label"),
    "label deep": (GOOD + member(b"a.json", b"[" * 60000) + END, r"a\.tar!a\.json: is no label"),
    "label a list": (GOOD + member(b"a.json", b'{"label": [1]}') + END, "is no label .neither a number nor a word"),
    "label true": (GOOD + member(b"a.json", b'{"label": true}') + END, "is no label .neither a number nor a word"),
    "label giant": (GOOD + member(b"a.json", b'{"label": 1%s}' % (b"0" * 9000)) + END, "is no label"),
    "label too late": (
        b"".join(member(b"i.%d.png" % n) for n in range(99)) + member(b"i.cls", b"1") + END,
        "more than 64",
    ),
}
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


def refused(path: Path, data: bytes, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        listed(path, data)
    line = str(caught.value)
    assert line.isprintable()
    assert path.name in line
    assert " - " in line
    assert len(line) < 400


class TestRefused:
    @pytest.mark.parametrize("name", BAD_TARS)
    def test_tar(self, tmp_path: Path, name: str) -> None:
        refused(tmp_path / "a.tar", *BAD_TARS[name])

    @pytest.mark.parametrize("name", sorted(BAD_TARS.keys() - {"empty"}))
    def test_the_same_in_gzip(self, tmp_path: Path, name: str) -> None:
        data, cause = BAD_TARS[name]
        refused(tmp_path / "a.tgz", gzip.compress(data), cause.replace(r"\.tar!", r"\.tgz!"))

    @pytest.mark.parametrize("name", BAD_ZIPS)
    def test_zip(self, tmp_path: Path, name: str) -> None:
        refused(tmp_path / "a.zip", *BAD_ZIPS[name])

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"x" + data[1:],
            lambda data: data[:2] + b"\x09" + data[3:],
            lambda data: data[:40] + b"\xff" * 9 + data[49:],
            lambda data: data[:-8] + b"\0" * 8,
            lambda data: data + b"garbage",
        ],
    )
    def test_damaged_gzip(self, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
        data = gzip.compress(member(b"a.png", bytes(range(256)) * 9) + END)
        refused(tmp_path / "a.tgz", spoil(data), "cannot be read|has no tar header")

    @pytest.mark.parametrize("place", range(0, 1536, 7))
    def test_whatever_is_flipped_in_a_tar(self, tmp_path: Path, place: int) -> None:
        data = bytearray(member(b"a.png", b"7") + member(b"a.cls", b"7")[:512] + END)
        data[min(place, len(data) - 1)] ^= 0xFF
        try:
            assert len(listed(tmp_path / "a.tar", data)) <= 2
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017 - some flips are of bytes that do not count


class TestBombs:
    @pytest.mark.parametrize("suffix", ["tgz", "tar.bz2"])
    def test_one_that_grows_beyond_measure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        monkeypatch.setattr("infra.sources.tar._BOMB_BYTES", 8 << 20)
        monkeypatch.setattr("infra.sources.tar._BOMB_RATIO", 500)
        pack = gzip.compress if suffix == "tgz" else bz2.compress
        for data in (header(b"a.png", 64 << 20) + bytes(64 << 20), header(b"a.png") + bytes(64 << 20)):
            refused(tmp_path / f"a.{suffix}", pack(data), "is a bomb: over 500 times its size")

    def test_what_is_as_large_without_compression_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("infra.sources.tar._BOMB_BYTES", 1000)
        assert len(listed(tmp_path / "a.tar", GOOD + bytes(1 << 20))) == 1

    @pytest.mark.parametrize("suffix", ["tar", "tgz"])
    def test_a_hundred_thousand_empty_members_of_one_name(self, tmp_path: Path, suffix: str) -> None:
        data = member(b"a.png") * 100_000 + END
        found = listed(tmp_path / f"a.{suffix}", data if suffix == "tar" else gzip.compress(data, 1))
        assert len({entry.name for entry in found}) == 100_000

    def test_more_members_than_any_set_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("infra.sources.members.MAX_MEMBERS", 1)
        for name, data in (("a.tar", GOOD * 2 + END), ("a.zip", ZIP)):
            refused(tmp_path / name, data, "holds more than 1 members - split it")

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

    def test_archives_in_archives_are_not_opened(self, tmp_path: Path) -> None:
        names = ["b.zip", "c.tar", "d.tar.gz", "e.tgz", "f.png.zip"]
        inner = zipped(("a.png", encoded(picture())))
        found = listed(tmp_path / "a.tar", b"".join(member(n.encode(), inner) for n in names) + END)
        found += listed(tmp_path / "a.zip", zipped(*((n, inner) for n in names)))
        assert found == [Other(f"a.{kind}!{name}") for kind in ("tar", "zip") for name in names]


class TestNoFiles:
    @pytest.mark.parametrize("kind", LINKS)
    def test_links_and_devices_are_named_and_not_followed(self, tmp_path: Path, kind: str) -> None:
        # Links may state the size of what they point at and yet have no data.
        for size in (0, 5000):
            data = header(b"evil.png", size, LINKS[kind], b"/etc/passwd") + GOOD + END
            other, image = listed(tmp_path / "a.tar", data)
            assert other == Other("a.tar!evil.png")
            assert list(TarSource(FileSet((str(tmp_path / "a.tar"),))).read([image])) == [b"image"]

    @pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644, 0o060644])
    def test_those_of_zip(self, tmp_path: Path, mode: int) -> None:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo("evil.png")
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, "/etc/passwd")
        assert listed(tmp_path / "a.zip", buffer.getvalue()) == [Other("a.zip!evil.png")]

    def test_sparse_members(self, tmp_path: Path) -> None:
        old = bytearray(header(b"a.png", 512, b"S"))
        old[482] = 1
        old[148:156] = b" " * 8
        old[148:156] = b"%06o\0 " % sum(old)
        maps = bytes(504) + b"\1" + bytes(7) + bytes(512)
        new = member(b"x", b"22 GNU.sparse.major=1\n32 GNU.sparse.name=dir/real.png\n", b"x") + member(
            b"b.png", b"x" * 9
        )
        found = listed(tmp_path / "a.tar", bytes(old) + maps + b"x" * 512 + new + GOOD + END)
        assert [type(one) for one in found] == [Other, Other, Entry]
        assert [one.name for one in found] == ["a.tar!a.png", "a.tar!dir/real.png", "a.tar!a.png#4608"]

    def test_folders_have_no_data_whatever_they_state(self, tmp_path: Path) -> None:
        (image,) = listed(tmp_path / "a.tar", header(b"x", 5000, b"5") + GOOD + END)
        assert image.name == "a.tar!a.png"

    def test_unknown_kinds_are_skipped_with_their_data(self, tmp_path: Path) -> None:
        found = listed(tmp_path / "a.tar", member(b"v.png", b"x" * 600, b"V") + GOOD + END)
        assert [type(one) for one in found] == [Other, Entry]


def test_tarfile_reads_what_these_tests_write() -> None:
    """The headers made here are such as the library takes."""
    with tarfile.open(fileobj=BytesIO(GOOD + member(b"b.png", b"x" * 600) + END)) as archive:
        assert [(info.name, info.size) for info in archive] == [("a.png", 5), ("b.png", 600)]
