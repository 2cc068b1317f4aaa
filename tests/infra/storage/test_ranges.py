"""A file made of ranges reads like one in memory, and asks for nothing beyond its end."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage.ranges import RangeFile

DATA = bytes(range(256)) * 12_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]),
        st.integers(-len(DATA), len(DATA)),
        st.integers(-1, 2 << 20),
    ),
    max_size=8,
)


@given(steps=STEPS)
def test_it_reads_like_one_in_memory(steps: list[tuple[int, int, int]]) -> None:
    def fetch(start: int, length: int) -> bytes:
        assert 0 <= start < start + length <= len(DATA)
        return DATA[start : start + length]

    opened, known = RangeFile(fetch, len(DATA)), io.BytesIO(DATA)
    for whence, offset, length in steps:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: known.tell(), os.SEEK_END: len(DATA)}[whence]
        place = max(base + offset, 0)
        assert opened.seek(place) == known.seek(place)
        assert opened.read(length) == known.read(length)
        assert opened.tell() == known.tell()


def test_a_read_is_one_fetch_of_what_is_there() -> None:
    fetched = []

    def fetch(start: int, length: int) -> bytes:
        fetched.append((start, length))
        return DATA[start : start + length]

    opened = RangeFile(fetch, len(DATA))
    for length in (100, 3 << 20, 7):
        opened.read(length)
    assert fetched == [(0, 100), (100, len(DATA) - 100)]


def test_what_the_source_raises_comes_out() -> None:
    def fetch(start: int, length: int) -> bytes:
        raise LookupError(f"{start} {length}")

    with pytest.raises(LookupError, match="0 3"):
        RangeFile(fetch, 10).read(3)


def test_a_source_that_ends_early_ends_the_file() -> None:
    assert RangeFile(lambda start, length: DATA[start:3][:length], 10).read() == DATA[:3]
