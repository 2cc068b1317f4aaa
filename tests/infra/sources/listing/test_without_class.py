"""Held-out images without a class take none from training images; a training image without one takes all."""

from pathlib import Path

from infra.sources.kinds.folder import FolderSource
from infra.sources.reading import Reading
from tests.infra.sources.listing.label_kinds import KAGGLE
from tests.infra.sources.listing.listings import digest_of_found, found


def test_the_test_images_of_kaggle_have_no_class(tmp_path: Path) -> None:
    test = {f"test_images/{n}.png": b"" for n in range(4)}
    listing = found(tmp_path, FolderSource, KAGGLE | test, Reading())
    assert (len(listing.class_names), listing.unlabelled, listing.cells["test", ""]) == (2, 0, 4)
    assert listing.labels_note == (
        "held-out images without one: 4, because train.csv names no image of folder test_images"
    )
    assert listing.digest != digest_of_found(tmp_path), "an earlier version took no classes"
    pooled = found(tmp_path, FolderSource, {}, Reading(use_splits=False))
    assert (pooled.class_names, pooled.unlabelled) == ([], 4), "any of these may train"
    found(tmp_path, FolderSource, {"test.csv": KAGGLE["train.csv"]}, Reading())


def test_names_of_training_images_are_classes_if_held_out_ones_have_other_names(tmp_path: Path) -> None:
    train = {f"train/{name}.{n}.jpg": b"" for name in ("cat", "dog") for n in range(2)}
    listing = found(tmp_path, FolderSource, train | {"test1/1.jpg": b"", "test1/IMG_2.jpg": b""}, Reading())
    assert (listing.class_names, listing.labels_from) == (["cat", "dog"], "file names")
    assert listing.labels_note == "held-out images without one: 2"
    assert listing.digest != digest_of_found(tmp_path), "an earlier version took no classes"
    assert found(tmp_path, FolderSource, {"test1/bird.7.jpg": b""}, Reading()).class_names == ["cat", "dog"]
    (tmp_path / "test1/bird.7.jpg").unlink()
    assert found(tmp_path, FolderSource, {}, Reading(use_splits=False)).class_names == []
    assert found(tmp_path, FolderSource, {}, Reading(labels="file_name")).class_names == ["IMG", "cat", "dog"]
    assert found(tmp_path, FolderSource, {"train/7.jpg": b""}, Reading()).class_names == []


def test_a_training_image_without_a_class_takes_all_away(tmp_path: Path) -> None:
    contents = {f"train/{name}/{n}.png": b"" for name in ("cat", "dog") for n in range(2)} | {"test/1.png": b""}
    listing = found(tmp_path, FolderSource, contents, Reading())
    assert (listing.class_names, listing.labels_note) == (["cat", "dog"], "held-out images without one: 1")
    listing = found(tmp_path, FolderSource, {"train/1.png": b""}, Reading())
    assert (listing.class_names, listing.unlabelled) == ([], 2)
