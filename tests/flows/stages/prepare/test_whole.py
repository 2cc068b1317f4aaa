"""A source whose splits are not taken, and a data set without a held-out split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.stage import Context
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import find_data_key, prepare
from flows.stages.prepare.stage import PREPARE
from tests.flows.stages.prepare.command import INPUT, assert_one_line, run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        folder = tmp_path / "images" / split
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"


def config(images: Path, **more: object) -> PrepareConfig:
    return PrepareConfig(source=str(images), image_size=8, channels=1, **more)


def test_splits_that_are_not_taken_are_drawn_anew(images: Path, make_context: Callable[..., Context]) -> None:
    context = make_context()
    taken = prepare(config(images), context)
    assert (taken.train_images, taken.test_images) == (6, 4)
    drawn = prepare(config(images, use_splits=False, holdout=0.5), context)
    assert drawn.train_images + drawn.test_images == 10
    assert (drawn.train_images, drawn.test_images) != (6, 4)
    assert drawn.manifest(context.store).facts["splits_from"] == ""


def test_all_images_form_one_split_if_no_other_is_asked_for(images: Path, make_context: Callable[..., Context]) -> None:
    whole = prepare(config(images, use_splits=False, holdout=0), make_context())
    assert (whole.train_images, whole.test_images) == (10, 0)


def test_held_out_images_of_a_source_of_their_own(images: Path, make_context: Callable[..., Context]) -> None:
    """Equal names in both are two images, and the card and the line say where the splits come from."""
    context = make_context()
    own = config(images / "train", test_source=str(images / "test"))
    dataset = prepare(own, context)
    assert (dataset.train_images, dataset.test_images) == (6, 4)
    said = "6 training and 4 held-out images; splits from prepare.source and prepare.test_source; "
    account = PREPARE.account(own, dataset, (), context.store)
    assert said in account.line
    assert b"plits from prepare.source and prepare.test_source" in account.files["card.html"]
    places = {str(images / "train"), str(images / "test")}
    assert {one.uri for one in account.inputs if one.purpose == "source"} == places
    assert find_data_key(own, context.store.uri) == dataset.key
    assert find_data_key(config(images / "train"), context.store.uri) != dataset.key


def test_an_image_of_another_size_is_refused_in_one_line(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (9, 8)).save(images / "train" / "9.png")
    given = [f"prepare.source={images}", "prepare.image_size=8", "prepare.resize_filter=none"]
    options = [part for setting in given for part in ("--set", setting)]
    assert run(tmp_path / "root", "prepare", "folder", *options) == INPUT
    assert_one_line(capsys, "has 9x8 pixels, not 8x8 - prepare.resize_filter can cut it and resize it")
