"""LMDB databases: every value as the library wrote it, and damage named.

lsun.mdb.gz was written by lmdb 3.0 (`lmdb.open`, two transactions): for n < 120 a PNG of grey n, 40x40 and stored if n
is a multiple of 40, else 4x4, below the key sha1(n) as in LSUN; and `num-samples`. The first transaction put a value
that the second deleted.
"""

import gzip
import hashlib
import random
import struct
from pathlib import Path

import pytest

from infra.errors import DdpmError, InputError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.image_formats import DECODERS
from infra.sources.kinds.lmdb import LmdbSource
from infra.sources.source import Entry, Other
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture

WHOLE = gzip.decompress((Path(__file__).parents[1] / "formats" / "lsun.mdb.gz").read_bytes())
PAGE = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.mdb").write_bytes(WHOLE)
    (tmp_path / "lock.mdb").write_bytes(bytes(8192))
    return tmp_path


def source(folder: Path) -> LmdbSource:
    return LmdbSource(FileSet((str(folder),)))


def greys(reader: LmdbSource, entries: list[Entry]) -> list[int]:
    images = [reader.decode(e, content) for e, content in zip(entries, reader.read(entries), strict=True)]  # type: ignore[arg-type]
    return [image.getpixel((3, 3))[0] for image in images]  # type: ignore[index]


def test_every_image_in_the_order_of_the_keys(folder: Path) -> None:
    found = placed(source(folder))
    keys = {hashlib.sha1(bytes([n])).hexdigest(): n for n in range(120)}
    assert [entry.name for entry in found] == [f"data.mdb!{key}" for key in sorted(keys)]
    assert greys(source(folder), found) == [keys[key] for key in sorted(keys)]
    assert greys(source(folder), [found[7], found[3]]) == [keys[sorted(keys)[n]] for n in (7, 3)]
    assert [other.name for other in source(folder).find() if isinstance(other, Other)] == ["data.mdb!num-samples"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_small_images_of_every_format(tmp_path: Path, decoder: str) -> None:
    """Their first bytes, in place of those of the PNG files in the pages of their keys."""
    start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"
    other = encoded(picture(0, (32, 32)), decoder)[: len(start)]
    (tmp_path / "data.mdb").write_bytes(WHOLE.replace(start, other))
    assert sum(isinstance(one, Entry) for one in source(tmp_path).find()) == 120
    (tmp_path / "data.mdb").write_bytes(WHOLE.replace(start, b"1797".ljust(len(start))))
    assert sum(isinstance(one, Entry) for one in source(tmp_path).find()) == 3


def test_folders_around_it_are_the_classes(folder: Path) -> None:
    for name in ("church", "tower"):
        (folder / name).mkdir()
        (folder / name / "data.mdb").write_bytes(WHOLE)
    (folder / "data.mdb").unlink()
    assert [entry.label for entry in placed(source(folder))] == ["church"] * 120 + ["tower"] * 120


def test_the_older_state_counts_if_the_newer_one_was_not_written(folder: Path) -> None:
    """Of the two states at the beginning of the file the one with the greater number is the newer."""
    numbers = [struct.unpack_from("<Q", WHOLE, page * PAGE + 16 + 24 + 96 + 8)[0] for page in (0, 1)]
    newer = numbers.index(max(numbers))
    data = bytearray(WHOLE)
    data[newer * PAGE + 16 : newer * PAGE + 20] = bytes(4)
    (folder / "data.mdb").write_bytes(data)
    assert [found.name for found in source(folder).find()] == ["data.mdb!gone"]


@pytest.mark.parametrize("data", [b"", bytes(4096), b"x" * 9999, WHOLE[:100]])
def test_what_is_no_database(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(InputError, match=r"is not the data\.mdb of an LMDB database - copy it anew"):
        placed(source(tmp_path))


def test_one_that_was_cut_short(folder: Path) -> None:
    (folder / "data.mdb").write_bytes(WHOLE[: len(WHOLE) // 2])
    with pytest.raises(InputError, match="ends too soon; it may be cut short"):
        placed(source(folder))


def test_damage_gives_one_line_or_other_bytes(folder: Path) -> None:
    dice, path = random.Random(0), folder / "data.mdb"
    for _ in range(300):
        data = bytearray(WHOLE)
        for _ in range(3):
            place = dice.randrange(len(data) - 4)
            data[place : place + 4] = dice.choice([b"\xff\xff\xff\xff", bytes(4), dice.randbytes(4), b"\3\0\0\0"])
        path.write_bytes(data)
        said, found = "", []
        try:
            found = list(source(folder).read(placed(source(folder))))
        except DdpmError as error:
            said = str(error)
        assert len(found) <= len(WHOLE) // 8
        assert not said or str(path) in said or "holds no images" in said or "data.mdb!" in said, said


def test_pages_that_lead_in_a_circle(folder: Path) -> None:
    """A branch that points at itself."""
    data = bytearray(WHOLE)
    roots = [struct.unpack_from("<Q", WHOLE, page * PAGE + 16 + 24 + 88)[0] for page in (0, 1)]
    for root in [root for root in roots if root * PAGE < len(data) and data[root * PAGE + 10] & 1]:
        (node,) = struct.unpack_from("<H", data, root * PAGE + 16)
        struct.pack_into("<3H", data, root * PAGE + node, root, 0, 0)
    (folder / "data.mdb").write_bytes(data)
    with pytest.raises(InputError, match="has pages that lead in a circle"):
        placed(source(folder))


def test_a_file_that_changed(folder: Path) -> None:
    found = placed(source(folder))
    (folder / "data.mdb").write_bytes(WHOLE + bytes(PAGE))
    with pytest.raises(IntegrityError, match=r"data\.mdb: changed"):
        list(source(folder).read(found))
