"""Images left out because of their key, by the split that their names give."""

from dataclasses import replace

import pytest

from infra.errors import InputError, Term
from infra.sources.listing.left_out import LeftOut
from infra.sources.listing.listing import listed
from infra.sources.source import Entry, Other
from tests.infra.sources.listing.test_listing import Given


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test/1.mask.png", "test"),
        ("data/Val2017/x/1.mask.png", "val"),
        ("train/test/1.mask.png", "train"),
        ("train-0.tar!x/1.mask.png", "train"),
        ("a.tar!test/1.mask.png", "test"),
        ("test/a.tar!1.mask.png", "test"),
        ("test.mask.png", ""),
        ("a/test.mask.png", ""),
        ("", ""),
    ],
)
def test_the_split_of_a_name(name: str, split: str) -> None:
    found = LeftOut()
    found.add(Other(name, key="mask"))
    assert found.keys.few() == {"mask": 1}
    for one in ("train", "test", "val"):
        tally = found.of_splits(one)
        assert (tally is not None) == (one == split)


@pytest.mark.parametrize(
    ("taken", "left", "word"), [("train", "test", "test"), ("train", "val", "test"), ("test", "train", "train")]
)
def test_a_split_that_keys_empty_is_refused(taken: str, left: str, word: str) -> None:
    masks = [Other(f"{folder}/{n}_mask.png", key="mask") for folder in (taken, left) for n in range(2)]
    images = [Entry(name=f"{taken}/{n}.png", folder=taken) for n in range(3)]
    with pytest.raises(InputError) as caught, listed(Given([*images, *masks])):
        pass
    assert caught.value.cause == f"has no image of {word} that is taken (left out by key: 2 mask)"
    assert caught.value.item == Term.SOURCE
    assert Term.IMAGE_KEY in caught.value.remedy
    assert Term.TAKE_NO_SPLITS in caught.value.remedy


def test_masks_of_the_split_that_is_there_are_no_reason() -> None:
    images = [Entry(name=f"train/{n}.png", folder="train") for n in range(3)]
    with listed(Given([*images, Other("train/0_mask.png", key="mask")])) as listing:
        assert listing.left_out == {"mask": 1}


def test_splits_of_the_source_itself_are_refused_elsewhere() -> None:
    """There the error names the source of the split."""
    left_out = Entry(name="test/0.small.png", split="test", key="small")
    images = [Entry(name=f"train/{n}.image.png", split="train", key="image") for n in range(3)]
    with listed(Given([*images, left_out, replace(left_out, name="test/1.small.png")])) as listing:
        assert listing.left_out == {"small": 2}
