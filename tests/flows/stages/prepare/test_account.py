"""The line of the stage says what was understood of the images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.stage import Context
from flows.stages.prepare.account import classes_line, kind_line, left_out_line, other_key, others_line, splits_line
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from flows.stages.prepare.stage import PREPARE
from infra.digests import Json
from infra.sources.tally import OTHERS
from tests.pictures import encoded, picture

FACTS: Json = {
    "class_names": ["cat", "dog"],
    "labels_from": "folder names",
    "splits_from": "folders train and test",
    "unlabelled": 0,
    "settings": {"holdout": 0.1},
}
NUMBERS = [str(number) for number in range(1000)]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "2 classes from folder names: cat, dog"),
        ({"class_names": CIFAR}, "10 classes from folder names: airplane, automobile, ... truck"),
        ({"class_names": NUMBERS[:10]}, "10 classes from folder names: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ({"class_names": NUMBERS, "labels_from": ".cls files"}, "1,000 classes from .cls files: 0, 1, ... 999"),
        ({"class_names": ["a" * 256, "b\n\x1b"]}, "2 classes from folder names: aaaaaaaaaaaaa..., b??"),
        ({"class_names": [], "labels_from": ""}, "no classes"),
        ({"class_names": [], "labels_from": "", "labels_note": "why; set\nit"}, "no classes: why; set?it"),
        ({"labels_note": "set it"}, "2 classes from folder names: cat, dog (set it)"),
        ({"class_names": [], "unlabelled": 1234}, "labels ignored: 1,234 images have no class"),
        ({"class_names": [], "unlabelled": 2, "labels_note": "why"}, "labels ignored: 2 images have no class (why)"),
    ],
    ids=str,
)
def test_classes(facts: Json, line: str) -> None:
    assert classes_line(FACTS | facts) == line


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "splits from folders train and test (prepare.use_splits)"),
        (
            {"splits_from": "prepare.source and prepare.test_source"},
            "splits from prepare.source and prepare.test_source",
        ),
        ({"splits_from": ""}, "about 10% held out by content hash (prepare.holdout)"),
        (
            {"splits_from": "", "settings": {"holdout_fraction": 0.125}},
            "about 12.5% held out by content hash (prepare.holdout)",
        ),
        ({"splits_from": "", "held_out_by": "order"}, "held out in the order of content hashes (prepare.holdout)"),
        ({"splits_from": "", "held_out_by": "nothing"}, "no image is held out (prepare.holdout)"),
    ],
    ids=str,
)
def test_splits(facts: Json, line: str) -> None:
    assert splits_line(FACTS | facts) == line


def test_data_sets_sealed_before_origins_were_recorded() -> None:
    old = {name: value for name, value in FACTS.items() if not name.endswith("_from")}
    assert splits_line(old) == ""
    assert classes_line(old) == "2 classes: cat, dog"


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (
            [f"{split}/{name}/{n}.png" for split in ("train", "val") for name in ("cat", "dog") for n in "12"],
            "4 training and 4 held-out images; splits from folders train and val (prepare.use_splits); "
            "2 classes from folder names: cat, dog; ",
        ),
        (
            [f"{n}.png" for n in range(8)] + ["notes.txt"],
            "about 50% held out by content hash (prepare.holdout); no classes; other files not read (1 .txt); "
            "read as folder; ",
        ),
        (
            [f"{n:05d}/{n}.png" for n in range(8)],
            "; no classes: folders 00000–00007 look like shards; prepare.labels=folder makes them classes; read",
        ),
        (
            [f"{name}/{part}/{n}.png" for name in ("cat", "dog") for part in "ab" for n in "12"],
            "; 2 classes from folder names: cat, dog (folders in them count for nothing, prepare.label_depth=0 takes",
        ),
        (
            [f"{split}/{name}{n}.png" for split in ("train", "test") for name in ("cat/", "") for n in "12"],
            "splits from folders train and test (prepare.use_splits); labels ignored: 4 images have no class; ",
        ),
    ],
)
def test_the_line_of_the_stage(
    tmp_path: Path, make_context: Callable[..., Context], places: list[str], said: str
) -> None:
    for number, place in enumerate(places):
        (tmp_path / "x" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / place).write_bytes(encoded(picture(number)))
    config = PrepareConfig(source=str(tmp_path / "x"), image_size=8, holdout=0.5)
    context = make_context()
    dataset = prepare(config, context)
    assert said in PREPARE.account(config, dataset, (), context.store).line


def test_the_digits_are_of_no_other_kind() -> None:
    assert [kind_line({"settings": {"kind": kind}}) for kind in ("digits", "zip")] == ["", "read as zip"]


def test_the_kind_of_the_held_out_source_is_named_if_it_is_another() -> None:
    facts = {"settings": {"kind": "folder"}, "test_kind": "zip"}
    assert kind_line(facts) == "read as folder, held-out images as zip"
    assert kind_line(facts | {"test_kind": "folder"}) == "read as folder"


def test_the_longest_line_stays_short() -> None:
    names = [letter * 256 for letter in "abcdefghijkl"]
    assert len(classes_line(FACTS | {"class_names": names})) < 100


def test_what_is_counted_together_has_words() -> None:
    """In a manifest they come first, as the order of the names has it."""
    facts = {"left_out": {OTHERS: 1000, "mask": 2}, "others": {"": 1, OTHERS: 3, ".txt": 2}}
    assert other_key(facts) == "mask"
    assert left_out_line(facts) == "other images of the samples left out (mask: 2, other keys: 1,000)"
    assert others_line(facts) == "other files not read (1 without a suffix, 2 .txt, 3 others)"
