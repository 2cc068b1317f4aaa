"""The values of an LMDB database: each key once, in order, with the bytes that lie where it says."""

import gzip
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.formats.lmdb_pages import lmdb_values

# tests/infra/sources/kinds/test_lmdb.py says what it holds.
WHOLE = gzip.decompress((Path(__file__).parent / "lsun.mdb.gz").read_bytes())
BEGINS = b"\x89PNG\r\n\x1a\n"


def test_small_values_lie_in_the_page_of_their_key_and_large_ones_elsewhere() -> None:
    values = list(lmdb_values(BytesIO(WHOLE), len(WHOLE), "data.mdb"))
    assert [value.key for value in values] == sorted(value.key for value in values)
    images = values[:-1]
    assert (values[-1].key, values[-1].start) == (b"num-samples", b"120")
    assert all(WHOLE[value.place : value.place + 8] == BEGINS for value in images)
    assert all(WHOLE[: value.place + value.length].endswith(b"IEND\xaeB\x60\x82") for value in images)
    assert sorted({bool(value.start) for value in images if value.length > 2048}) == [False]
    assert {value.start for value in images if value.length <= 2048} == {BEGINS + b"\0\0\0\rIHDR\0\0"}


def test_a_page_that_is_another_one() -> None:
    """The root is asked for by its number, which every page also states."""
    values = list(lmdb_values(BytesIO(WHOLE), len(WHOLE), "data.mdb"))
    leaf = values[0].place // 4096 * 4096
    data = WHOLE[:leaf] + bytes(8) + WHOLE[leaf + 8 :]
    with pytest.raises(InputError, match=rf"data\.mdb at page {leaf // 4096}: has a damaged page"):
        list(lmdb_values(BytesIO(data), len(data), "data.mdb"))
