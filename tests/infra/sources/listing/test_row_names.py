"""The spellings and keys of the names in rows."""

import pytest

from infra.sources.listing.row_names import SPELLINGS, key_of, normal, place_of, split_and_below


@pytest.mark.parametrize(
    ("name", "split", "below"),
    [
        ("train/a/1.png", "train", "a/1.png"),
        ("Testing_images/1.png", "test", "1.png"),
        ("val.tar.gz!x/1.png", "val", "x/1.png"),
        ("train.d/1.png", "", "train.d/1.png"),
        ("train_1.png", "", "train_1.png"),
        ("a/train/1.png", "", "a/train/1.png"),
        ("train", "", "train"),
    ],
)
def test_the_split_that_the_outermost_folder_or_archive_names(name: str, split: str, below: str) -> None:
    assert split_and_below(name) == (split, below)


def test_spellings_grow_laxer() -> None:
    assert [spelt("a.zip!x/1.b.png") for spelt in SPELLINGS] == ["a.zip!x/1.b.png", "a.zip!x/1.b", "1.b.png", "1.b"]


def test_names_are_as_those_of_entries() -> None:
    assert normal(".//x\\1.png", in_archive=False) == "x/1.png"
    assert normal("x\n.png", in_archive=True) == "x\\n.png"


def test_keys_differ_by_name_and_split() -> None:
    places = [place_of("a/", split) for split in ("", "train", "test")]
    assert len({key_of(place + "1.png") for place in places}) == 3
    assert key_of("1.png") < 1 << 64
