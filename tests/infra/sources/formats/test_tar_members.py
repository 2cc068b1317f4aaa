"""Tar archives made to harm: each is refused by one line or its members are only named; nothing is ever written."""

import gzip
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.tar import TarSource
from infra.sources.source import Entry, Other
from tests.infra.sources.formats.archives import END, GOOD, ZIP, header, listed, member, patched, refused
from tests.pictures import encoded, picture

pytestmark = pytest.mark.usefixtures("nothing_is_written")

LINKS = {"sym": b"2", "hard": b"1", "char": b"3", "block": b"4", "fifo": b"6"}
BAD_TARS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "at byte 0: ends too soon"),
    "no end": (GOOD, "at byte 1024: ends too soon"),
    "half a header": (GOOD + GOOD[:100], "at byte 1124: ends too soon"),
    "half a member": (header(b"a.png", 5000) + bytes(600), "ends too soon"),
    "an image": (encoded(picture(0, (40, 40))), "at byte 512: has no tar header"),
    "text": (b"hello " * 500, "has no tar header"),
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
    "label giant": (GOOD + member(b"a.json", b'{"label": 1%s}' % (b"0" * 9000)) + END, "is no label"),
    "label too late": (
        b"".join(member(b"i.%d.png" % n) for n in range(99)) + member(b"i.cls", b"1") + END,
        "more than 64",
    ),
}


class TestRefused:
    @pytest.mark.parametrize("name", BAD_TARS)
    def test_tar(self, tmp_path: Path, name: str) -> None:
        refused(tmp_path / "a.tar", *BAD_TARS[name])

    @pytest.mark.parametrize("name", sorted(BAD_TARS.keys() - {"empty"}))
    def test_the_same_in_gzip(self, tmp_path: Path, name: str) -> None:
        data, cause = BAD_TARS[name]
        refused(tmp_path / "a.tgz", gzip.compress(data), cause.replace(r"\.tar!", r"\.tgz!"))

    @pytest.mark.parametrize("place", range(0, 1536, 7))
    def test_whatever_is_flipped_in_a_tar(self, tmp_path: Path, place: int) -> None:
        data = bytearray(member(b"a.png", b"7") + member(b"a.cls", b"7")[:512] + END)
        data[min(place, len(data) - 1)] ^= 0xFF
        try:
            assert len(listed(tmp_path / "a.tar", data)) <= 2
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017 - some flips are of bytes that do not count


class TestNoFiles:
    @pytest.mark.parametrize("kind", LINKS)
    def test_links_and_devices_are_named_and_not_followed(self, tmp_path: Path, kind: str) -> None:
        # Links may state the size of what they point at and yet have no data.
        for size in (0, 5000):
            data = header(b"evil.png", size, LINKS[kind], b"/etc/passwd") + GOOD + END
            other, image = listed(tmp_path / "a.tar", data)
            assert other == Other("a.tar!evil.png")
            assert list(TarSource(FileSet((str(tmp_path / "a.tar"),))).read([image])) == [b"image"]

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
