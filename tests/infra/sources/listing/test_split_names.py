"""Examples of rule 9: folders whose names give a split only together with the folders beside them."""

from pathlib import Path

import pytest

from infra.errors import InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.listing import listed, part_entries
from infra.sources.listing.split_names import SplitNamesSurvey
from infra.sources.reading import Reading
from tests.infra.sources.kinds.test_zip import packed as zipped
from tests.infra.sources.trees import put


def moved(*paths: str) -> list[str]:
    survey = SplitNamesSurvey()
    for path in paths:
        survey.add(path)
    found = survey.found()
    return list(paths) if found is None else [found.folder(path) for path in paths]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("trainA", "trainB", "testA", "testB"), ("train/A", "train/B", "test/A", "test/B")),
        (("x/trainA", "x/trainB", "x/testA"), ("x/train/A", "x/train/B", "x/test/A")),
        (("TrainA/a", "Train_B", "valA", "VAL_B"), ("train/A/a", "train/B", "val/A", "val/B")),
        (("train_cats", "train_dogs", "test_cats"), ("train/cats", "train/dogs", "test/cats")),
        (("cats-train", "cats-test", "dogs-train"), ("train/cats", "test/cats", "train/dogs")),
        (("seg_train/seg_train/sea", "seg_test/seg_test/sea"), ("train/seg_train/sea", "test/seg_test/sea")),
        (("seg_train/a", "seg_test/a", "seg_pred"), ("train/a", "test/a", "seg_pred")),
        (("DIV2K_train_HR", "DIV2K_valid_HR"), ("train", "val")),
        (("mnistTrain/1", "mnistTest/1"), ("train/1", "test/1")),
        (("ds/Training/a", "ds/val/a", ""), ("train/ds/a", "val/ds/a", "")),
        (("cats/train", "cats/test", "dogs/train"), ("train/cats", "test/cats", "train/dogs")),
        (("d/cats/train", "d/cats/val", "d/dogs/val/x"), ("d/train/cats", "d/val/cats", "d/val/dogs/x")),
        (
            ("bottle/train/good", "bottle/test/broken", "bottle/mask/broken", "nut/train/good"),
            ("train/bottle/good", "test/bottle/broken", "bottle/mask/broken", "train/nut/good"),
        ),
    ],
    ids=str,
)
def test_names_that_give_a_split_together(paths: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert moved(*paths) == list(expected)


def test_the_folders_that_are_named_have_the_same_rest() -> None:
    survey = SplitNamesSurvey()
    for path in ("train_dogs", "train_cats", "test_cats"):
        survey.add(path)
    found = survey.found()
    assert found is not None
    assert found.words("test") == "folders train_cats and test_cats"
    assert found.words("val") == ""


@pytest.mark.parametrize(
    "paths",
    [
        ("train/x/trainA", "train/x/testA"),
        ("train", "test", "train_extra", "test_extra"),
        ("train_station", "test_tube"),
        ("trainA", "testB"),
        ("trainA", "trainB"),
        ("trainers", "testers"),
        ("TRAINER", "TESTER"),
        ("bullet train", "cat"),
        ("a/train", "b/val"),
        ("a/train/x", "b/test/x"),
        ("trainA",),
        ("cat", "dog"),
        ("",),
    ],
    ids=str,
)
def test_names_that_prove_nothing(paths: tuple[str, ...]) -> None:
    assert moved(*paths) == list(paths)


@pytest.mark.parametrize(
    ("tree", "expected", "classes", "words"),
    [
        (
            [f"{split}{letter}/{n}.png" for split in ("train", "test") for letter in "AB" for n in "12"],
            {("train", "A"), ("train", "B"), ("test", "A"), ("test", "B")},
            ["A", "B"],
            "folders trainA and testA",
        ),
        (
            [f"{split}/{split}/{name}/1.png" for split in ("seg_train", "seg_test") for name in ("sea", "street")]
            + ["seg_pred/seg_pred/1.png"],
            {("train", "sea"), ("train", "street"), ("test", "sea"), ("test", "street"), ("", "seg_pred")},
            ["sea", "street"],
            "folders seg_train and seg_test",
        ),
        (
            [f"{name}/{split}/1.png" for name in ("cats", "dogs") for split in ("train", "test")],
            {("train", "cats"), ("train", "dogs"), ("test", "cats"), ("test", "dogs")},
            ["cats", "dogs"],
            "folders train and test",
        ),
    ],
    ids=["CycleGAN", "Intel", "class above split"],
)
@pytest.mark.parametrize("wrapper", ["", "set/"])
def test_a_whole_tree(
    tmp_path: Path, tree: list[str], expected: set[tuple[str, str]], classes: list[str], words: str, wrapper: str
) -> None:
    put(tmp_path / "x", *(f"{wrapper}{name}" for name in tree))
    (tmp_path / "x.zip").write_bytes(zipped([(f"{wrapper}{name}", b"x") for name in tree]))
    for source in (FolderSource(FileSet((f"{tmp_path}/x",))), ZipSource(FileSet((f"{tmp_path}/x.zip",)))):
        with listed(source) as listing:
            entries = part_entries(next(listing.parts(1000)))
            assert {(entry.split, entry.label) for entry in entries} == expected
            assert (listing.class_names, listing.splits_from) == (classes, words)
            assert listing.splits_given


REFUSED = {
    "words that prove nothing": ("train_station/1.png", "test_tube/1.png"),
    "one split and others": ("train/1.png", "more/1.png"),
    "splits of other folders": ("a/train/cat/1.png", "b/val/cat/1.png"),
}


@pytest.mark.parametrize("tree", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_goes_on_without_splits(tmp_path: Path, tree: tuple[str, ...]) -> None:
    put(tmp_path, *tree)
    source = FolderSource(FileSet((str(tmp_path),)))
    with pytest.raises(InputError) as caught, listed(source):
        pass
    assert Term.TAKE_NO_SPLITS in caught.value.remedy
    assert Term.TEST_SOURCE in caught.value.remedy
    with listed(source, Reading(use_splits=False)) as listing:
        assert listing.count == 2


def test_without_splits_images_outside_of_them_count_for_the_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "test/dog/1.png", "extra/1.png")
    with listed(FolderSource(FileSet((str(tmp_path),)))) as listing:
        assert listing.class_names == ["cat", "dog"]
    put(tmp_path, "extra/eel/1.png")
    with listed(FolderSource(FileSet((str(tmp_path),))), Reading(use_splits=False)) as listing:
        assert "extra" in listing.class_names
