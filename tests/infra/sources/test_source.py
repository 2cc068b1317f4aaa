"""Entries of a source can be stored and read again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.sources.source import Entry

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    entry=st.builds(
        Entry,
        name=WORDS,
        file=WORDS,
        size=st.integers(0, 1 << 60),
        stamp=WORDS,
        at=st.lists(st.integers(0, 1 << 60), max_size=3).map(tuple),
        split=st.sampled_from(["", "train", "test"]),
        label=WORDS,
        folder=WORDS,
    )
)
def test_an_entry_comes_back_from_json(entry: Entry) -> None:
    assert Entry.from_json(json.loads(json.dumps(entry.as_json()))) == entry


def test_all_of_it_is_stored() -> None:
    entry = Entry(name="n", file="f", size=3, stamp="s", at=(1, 2), split="test", label="l", folder="a/b")
    assert entry.as_json() == ["n", "f", 3, "s", [1, 2], "test", "l", "a/b"]


@pytest.mark.parametrize("value", [[], ["n", "f", 3, "s", [], "", ""], ["n", "f", 3, "s", [], "", "", "", ""]])
def test_what_is_no_entry(value: list[object]) -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        Entry.from_json(value)
