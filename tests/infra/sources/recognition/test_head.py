"""The beginning of a file: a few kilobytes, unpacked within bounds, with the first names in an archive."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.sources.files.file_set import FileSet
from infra.sources.recognition import head
from infra.sources.recognition.head import Head, read_head
from tests.infra.sources.formats.archives import END, ZIP, member, zipped


def head_of(folder: Path, data: bytes) -> Head:
    (folder / "x").write_bytes(data)
    files = FileSet((str(folder),))
    (file,) = files.find()
    return read_head(files, file)


def test_few_bytes_of_a_large_file(tmp_path: Path) -> None:
    found = head_of(tmp_path, bytes(1 << 20))
    assert (found.name, found.size) == ("x", 1 << 20)
    assert len(found.data) == head._HEAD_BYTES
    assert (found.unpacked, found.names) == (found.data, ())


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_the_names_in_a_tar_as_far_as_its_beginning_reaches(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = b"".join(member(b"%d.png" % n, bytes(1000)) for n in range(999)) + END
    names = head_of(tmp_path, pack(whole)).tar_names
    assert 5 <= len(names) < 100
    assert names[:2] == ("0.png", "1.png")


def test_the_first_names_in_a_zip(tmp_path: Path) -> None:
    names = head_of(tmp_path, zipped(*((f"{n}.png", b"x") for n in range(999)))).names
    assert names == tuple(f"{n}.png" for n in range(head._MEMBERS))


DAMAGED = {
    "zip": ZIP[:40],
    "gzip": b"\x1f\x8b" + bytes(99),
    "bzip2": b"BZh91AY&SY" + bytes(99),
    "empty": b"",
    "x": b"x",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_has_no_names(tmp_path: Path, data: bytes) -> None:
    assert head_of(tmp_path, data).names == ()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_bomb_is_unpacked_within_bounds(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert len(head_of(tmp_path, pack(bytes(64 << 20))).unpacked) <= head._UNPACKED_BYTES
