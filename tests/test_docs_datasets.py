"""The rules of docs/datasets.md are those of the code."""

import pytest

from infra.sources.listing.placing import Placing
from infra.sources.shape import Shape
from infra.sources.source import Entry
from tests.test_docs import prose


@pytest.mark.parametrize("name", ["Training", "val2017", "train", "test"])
def test_folders_that_give_a_split_as_documented(name: str) -> None:
    assert f"`{name}`" in prose("docs/datasets.md")
    assert Placing(0, 0, labelled=False)(Entry(name="x", file=f"{name}/x", size=1, stamp="", folder=name))[0]


def test_the_steps_from_an_image_to_pixels_are_those_of_the_rule() -> None:
    text = prose("docs/datasets.md")
    for rule in (Shape(height=8, width=8, channels=3).rule, text[text.index("1. The EXIF") :]):
        places = [rule.lower().index(word) for word in ("exif", "transparen", "257", "centred square", "resized")]
        assert places == sorted(places)
