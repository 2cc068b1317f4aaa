"""Where classes come from: the order of the rules, each kind of input with its counterexamples, and choices."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.digits import DigitsSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.listing.listing import listed
from infra.sources.listing.ruling import AUTO_ORDER, LabelRule
from infra.sources.reading import Reading
from tests.infra.sources.kinds.test_tar import packed
from tests.infra.sources.listing.label_kinds import (
    CATS,
    CELEBA,
    FOUR,
    KINDS,
    TABLE,
    TINY,
    parquet,
)
from tests.infra.sources.listing.listings import digest_of_found, found
from tests.infra.sources.placed import placed
from tests.infra.sources.trees import laid


@pytest.mark.parametrize("kind", KINDS)
def test_what_auto_takes(tmp_path: Path, kind: str) -> None:
    made = KINDS[kind]
    listing = found(tmp_path, made.make, made.contents, Reading())
    assert (tuple(listing.class_names), listing.labels_from) == (made.classes, made.origin)
    assert made.note in listing.labels_note
    assert bool(made.note) == bool(listing.labels_note)
    if made.note and not made.classes:
        assert f"{Term.LABELS}=" in listing.labels_note, "the setting that takes it instead is named"


@pytest.mark.parametrize(
    ("kind", "picks"),
    [
        ("several in a column", ""),
        ("several in .json files", ""),
        ("fractions", ""),
        ("several beside other columns", "column:NAME (hair)"),
        ("chestmnist", "column:NUMBER"),
    ],
)
def test_only_a_choice_that_may_give_classes_is_named(tmp_path: Path, kind: str, picks: str) -> None:
    note = found(tmp_path, KINDS[kind].make, KINDS[kind].contents, Reading()).labels_note
    assert f"{Term.LABELS}=none ignores them" in note
    assert f"{Term.LABELS}={picks} picks one" in note if picks else " picks " not in note


def test_the_folders_in_shards(tmp_path: Path) -> None:
    """The setting that the note names."""
    made = KINDS["shards around classes"]
    assert found(tmp_path, made.make, made.contents, Reading(label_depth=2)).class_names == ["cat", "dog"]


@pytest.mark.parametrize("kind", KINDS)
def test_none_gives_none_of_any_kind(tmp_path: Path, kind: str) -> None:
    made = KINDS[kind]
    listing = found(tmp_path, made.make, made.contents, Reading(labels="none"))
    assert (listing.class_names, listing.labels_from, listing.labels_note) == ([], "", "")


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [
        ("ffhq", "folder", ["00000", "01000", "02000"]),
        ("dates", "folder", ["2019", "2020"]),
        ("edm", "folder", ["00000", "00001", "00002"]),
        ("shards of named files", "folder", ["00000", "00001"]),
        ("folders before file names", "file_name", ["cat", "dog"]),
        ("sidecars before metadata", "metadata", ["c0", "c1"]),
        ("sidecars before metadata", "column:hair", ["blond", "red"]),
        ("celeba", "column:Smiling", ["-1", "1"]),
        ("celeba packed", "column:identity", ["0", "1"]),
        ("celeba", "column:Male", None),
        ("celeba", "metadata", None),
        ("tiny imagenet", "metadata", ["a", "b"]),
        ("a table that cannot be read", "metadata", None),
        ("metadata in each split", "column:hair", ["blond", "red"]),
        ("metadata in each split", "key:label", None),
        ("several in .json files", "folder", None),
        ("several in .json files", "key:label", None),
        ("several in a column", "column:labels", None),
        ("chestmnist", "column:0", ["0", "1"]),
        ("chestmnist", "column:1", ["0", "1"]),
        ("chestmnist", "column:2", None),
        ("file names", "folder", None),
        ("file names", "metadata", None),
        ("numbers", "file_name", None),
        ("numbers", "column:x", None),
        ("floats", "metadata", None),
    ],
)
def test_a_choice_is_taken_or_refused_with_the_way_on(
    tmp_path: Path, kind: str, labels: str, classes: list[str] | None
) -> None:
    made, reading = KINDS[kind], Reading(labels=labels)
    if classes is not None:
        assert found(tmp_path, made.make, made.contents, reading).class_names == classes
        return
    with pytest.raises(InputError, match=f"{labels} gives no classes") as caught:
        found(tmp_path, made.make, made.contents, reading)
    assert caught.value.item == Term.LABELS
    assert f"{Term.LABELS}=none" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "labels", "says"),
    [
        ("several in a column", "column:nope", "has no column nope: image, labels"),
        ("chestmnist", "column:3", "has no column 3: its columns are 0 to 2"),
        ("chestmnist", "key:nope", "has no key nope: its keys are images, labels"),
        ("metadata in each split", "column:nope", "it has file_name, label, hair"),
        ("celeba", "column:male", "list_attr_celeba.txt has no column male: it has Male, Smiling"),
        ("celeba", "metadata", "has several labels per image .Male, Smiling. - "),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, kind: str, labels: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        found(tmp_path, KINDS[kind].make, KINDS[kind].contents, Reading(labels=labels))
    assert f"{Term.LABELS}=" in caught.value.remedy


def test_the_key_of_a_json_file_that_was_picked(tmp_path: Path) -> None:
    members = [
        (f"{n}.{suffix}", data)
        for n in range(2)
        for suffix, data in (("png", b""), ("cls", b"x"), ("json", b'{"label": 0, "age": %d}' % (30 + n)))
    ]
    listing = found(tmp_path, TarSource, {"a.tar": packed(members)}, Reading(labels="key:age"))
    assert (listing.class_names, listing.labels_from) == (["30", "31"], "key age of .json files")


@pytest.mark.parametrize("key", ["hair", "train_hair"])
def test_a_key_of_arrays_beside_each_split(tmp_path: Path, key: str) -> None:
    buffer = io.BytesIO()
    pixels = np.zeros((2, 8, 8), np.uint8)
    hair = {"train_hair": np.array([3, 5]), "test_hair": np.array([5, 3])}
    np.savez(buffer, train_images=pixels, test_images=pixels, train_labels=np.arange(2), **hair)
    listing = found(tmp_path, ArraySource, {"a.npz": buffer.getvalue()}, Reading(labels=f"key:{key}"))
    assert listing.class_names == ["3", "5"]


def test_the_digits_without_their_labels() -> None:
    reading = Reading(labels="none")
    with listed(DigitsSource(reading), reading) as listing:
        assert listing.class_names == []


@pytest.mark.parametrize("labels", ["auto", "metadata"])
def test_labels_of_metadata_are_in_the_digest(tmp_path: Path, labels: str) -> None:
    reading = Reading(labels=labels)
    one = found(tmp_path, FolderSource, FOUR | {"metadata.csv": TABLE}, reading)
    other = found(tmp_path, FolderSource, {"metadata.csv": TABLE.replace(b"0.png,0", b"0.png,1")}, reading)
    assert one.digest != other.digest
    assert one.class_names == other.class_names


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_attributes_of_minus_one_and_one_are_classes(tmp_path: Path, kind: str) -> None:
    table = b"image_id,Smiling\n0.png,-1\n1.png,1\n2.png,-1\n3.png,1\n"
    data = {"a.parquet": parquet(Smiling=[-1, 1])} if kind == "parquet" else FOUR | {"metadata.csv": table}
    make = ParquetSource if kind == "parquet" else FolderSource
    assert found(tmp_path, make, data, Reading(labels="column:Smiling")).class_names == ["-1", "1"]


def test_folders_that_look_like_shards_are_classes_if_a_depth_is_chosen(tmp_path: Path) -> None:
    listing = found(tmp_path, FolderSource, KINDS["ffhq"].contents, Reading(label_depth=0))
    assert (listing.class_names, listing.labels_note) == (["00000", "01000", "02000"], "")


def test_the_whole_path_leaves_nothing_to_note(tmp_path: Path) -> None:
    listing = found(tmp_path, FolderSource, KINDS["nested"].contents, Reading(label_depth=0))
    assert (len(listing.class_names), listing.labels_note) == (4, "")


def test_metadata_of_something_else_is_noted_before_shards(tmp_path: Path) -> None:
    contents = KINDS["ffhq"].contents | {"metadata.csv": b"file_name,label\nx.png,1\n"}
    assert found(tmp_path, FolderSource, contents, Reading()).labels_note.startswith("metadata.csv names no image")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("a/1.png", "b/1.png", "1.png"), "1 images have no class"),
        (("a/1.png", "a/2.png"), "all images with a class have a"),
        (("1.png", "2.png"), "no image has a label"),
    ],
)
def test_a_choice_without_classes_says_why(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=f"folder gives no classes: {says}"):
        found(tmp_path, FolderSource, dict.fromkeys(names, b""), Reading(labels="folder"))


def test_without_attributes_a_table_of_them_is_not_in_the_digest(tmp_path: Path) -> None:
    """Nothing of it is taken, so the key stays."""
    one = found(tmp_path, FolderSource, CELEBA, Reading())
    (tmp_path / "list_attr_celeba.txt").unlink()
    other = found(tmp_path, FolderSource, {}, Reading())
    assert (one.digest, one.others) == (other.digest, {".txt": 2})
    assert found(tmp_path, FolderSource, CELEBA, Reading(labels="column:Smiling")).digest != one.digest


def test_no_folder_of_images_is_a_class_beside_annotations(tmp_path: Path) -> None:
    """An earlier version made one of test/images, so the digest is another than that of what was found; else it is."""
    listing = found(tmp_path, FolderSource, TINY, Reading())
    assert listing.cells == {("train", "a"): 2, ("train", "b"): 2, ("test", "a"): 1, ("test", "b"): 1, ("", ""): 2}
    assert listing.digest != digest_of_found(tmp_path)
    shutil.rmtree(tmp_path / "test")
    assert found(tmp_path, FolderSource, {}, Reading()).digest == digest_of_found(tmp_path)


def opposite(names: str) -> dict[str, bytes]:
    """Tables of two splits in which images of equal names have opposite labels."""
    return {
        f"{split}.csv": b"file,label\n" + b"".join(b"%d.png,%s\n" % (n, labels[n % 2]) for n in range(4))
        for split, labels in (("train", (b"cat", b"dog")), ("test", (b"dog", b"cat")))
    } | {names.format(split=split, n=n): b"" for split in ("train", "test") for n in range(4)}


@pytest.mark.parametrize("names", ["{split}/{n}.png", "images/{split}/{n}.png", "x_{split}/{n}.png"])
def test_tables_of_two_splits_label_their_own_images(tmp_path: Path, names: str) -> None:
    laid(tmp_path, opposite(names))
    label = {entry.name: entry.label for entry in placed(FolderSource(FileSet((str(tmp_path),))))}
    assert {label[names.format(split="train", n=n)] for n in (0, 2)} == {"cat"}
    assert {label[names.format(split="test", n=n)] for n in (0, 2)} == {"dog"}


def test_tables_of_two_splits_with_other_labels_for_one_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0\.png: has different labels in .*, and nothing tells its split - put"):
        found(tmp_path, FolderSource, opposite("{n}.png"), Reading())


@pytest.mark.parametrize("labels", ["none", "folder", "file_name"])
def test_a_broken_table_that_is_not_used_ends_nothing(tmp_path: Path, labels: str) -> None:
    files = {f"a/{name}": b"" for name in CATS} | {f"b/{name}": b"" for name in CATS}
    files |= {"a/train.csv": b"id,label\ncat_0000.png\n", "list_attr_x.txt": b"\xff", "splits.txt": b"\xff"}
    assert found(tmp_path, FolderSource, files, Reading(labels=labels, use_splits=False)).count == 16


def test_the_order_is_complete() -> None:
    assert list(AUTO_ORDER) == list(LabelRule)


@pytest.mark.parametrize(
    ("kind", "key"), [("file names with keys", "mask"), ("file names with masks at the end", "mask")]
)
def test_masks_have_the_classes_of_their_images(tmp_path: Path, kind: str, key: str) -> None:
    made = KINDS[kind]
    listing = found(tmp_path, made.make, made.contents, Reading(image_key=key))
    assert (listing.class_names, listing.count) == (["cat", "dog"], 8)
