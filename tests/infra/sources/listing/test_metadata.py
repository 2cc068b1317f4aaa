"""The labels of metadata files, looked up by the names of images."""

import json

import pytest

from infra.errors import InputError
from infra.sources.listing import metadata
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.source import Metadata


def dataset(name: str, **labels: object) -> Metadata:
    return Metadata(name, json.dumps({"labels": [[key, value] for key, value in labels.items()]}).encode())


def looked_up(files: list[Metadata], *names: str) -> list[str | None]:
    found = MetadataLabels("")
    for file in files:
        assert found.add(file)
    found.sort()
    for name in names:
        found.try_name(name)
    assert not found.trouble
    return [found.label(name) for name in names]


@pytest.mark.parametrize(
    ("place", "row", "name"),
    [
        ("dataset.json", "00/a.png", "00/a.png"),
        ("x/dataset.json", "00/a.png", "x/00/a.png"),
        ("d.zip!dataset.json", "00/a.png", "d.zip!00/a.png"),
        ("d.zip!set/dataset.json", "a.png", "d.zip!set/a.png"),
        ("d.tar!./dataset.json", "./a.png", "d.tar!./a.png"),
        ("dataset.json", "00\\a.png", "00/a.png"),
        ("dataset.json", "././/a.png", "a.png"),
        ("dataset.json", "\u200ba.png", "\u200ba.png"),
        ("d.zip!dataset.json", "\u200ba.png", "d.zip!\\u200ba.png"),
        ("dataset.json", "a", "a.png"),
        ("dataset.json", "a.png", "img/a.png"),
        ("dataset.json", "a", "deep/img/a.jpg"),
        ("d.zip!dataset.json", "a", "d.zip!img/a.jpg"),
    ],
)
def test_spellings(place: str, row: str, name: str) -> None:
    assert looked_up([dataset(place, **{row: 7, "other.png": 8})], name, name.replace("a.", "b.")) == ["7", ""]


def test_the_strictest_spelling_that_fits_is_used_for_all() -> None:
    """Else the mask of a.png would take its label."""
    assert looked_up([dataset("dataset.json", **{"a.png": 7})], "a.png", "mask/a.png") == ["7", ""]


def test_space_around_a_label_is_none_of_it() -> None:
    files = [dataset("dataset.json", **{"a.png": " cat", "b.png": "cat ", "c.png": "cat"})]
    assert looked_up(files, "a.png", "b.png", "c.png") == ["cat", "cat", "cat"]


def test_own_names_that_several_images_have_label_none() -> None:
    assert looked_up([dataset("dataset.json", **{"a.png": 7})], "image/a.png", "mask/a.png") == [None, None]


def test_each_folder_has_its_own_file() -> None:
    files = [dataset("train/dataset.json", **{"a.png": "x"}), dataset("test/dataset.json", **{"a.png": "y"})]
    assert looked_up(files, "train/a.png", "test/a.png", "a.png", "other/a.png") == ["x", "y", None, None]


@pytest.mark.parametrize(
    ("row", "names", "expected"),
    [
        ("1", ("train/1.png", "test/1.png", "other/1.png"), ["x", None, ""]),
        ("1.png", ("train_images/1.png", "test_images/1.png"), ["x", None]),
        ("train/1.png", ("train/1.png", "test/1.png"), ["x", None]),
        ("1", ("train.zip!1.png", "test.zip!1.png"), ["x", None]),
        ("1", ("images/1.png",), ["x"]),
        ("a/1", ("train/a/1.png", "train/b/1.png"), ["x", ""]),
        ("1", ("train_1.png", "1.png"), ["", "x"]),
    ],
)
def test_a_table_named_after_a_split_tells_of_its_images(row: str, names: tuple[str, ...], expected: list[str]) -> None:
    table = Metadata("train.csv", f"id,label\n{row},x\nnone,y\n".encode())
    assert looked_up([table], *names) == expected


def test_tables_of_two_splits_are_apart() -> None:
    files = [Metadata(f"d/{split}.csv", f"id,label\n1.png,{split}\n".encode()) for split in ("val", "test")]
    files.append(Metadata("d/metadata.csv", b"file_name,label\nval/2.png,z\n"))
    assert looked_up(files, "d/val/1.png", "d/test/1.png", "d/val/2.png", "d/2.png") == ["val", "test", "z", ""]


def test_rows_that_name_no_image_are_counted() -> None:
    found = MetadataLabels("")
    found.add(dataset("dataset.json", **{"a.png": 1, "b.png": 2, "c.png": 1}))
    found.sort()
    for name in ("a.png", "x.png"):
        found.try_name(name)
        assert found.label(name) == ("1" if name == "a.png" else "")
    assert found.unnamed == "2 rows of dataset.json name no image"


def test_an_image_without_a_row_has_no_label() -> None:
    assert looked_up([dataset("dataset.json", **{"a.png": 0, "b.png": None})], "a.png", "b.png", "c.png") == [
        "0",
        "",
        "",
    ]


@pytest.mark.parametrize("rows", [[["a.png", [1, 2]]], [["a.png", 1], ["a.png", 2]], [["a.png", 0.5]]], ids=str)
def test_labels_that_are_no_classes(rows: list[object]) -> None:
    found = MetadataLabels("")
    found.add(Metadata("x/dataset.json", json.dumps({"labels": rows}).encode()))
    found.sort()
    assert found.trouble.startswith("dataset.json: ")


def test_a_row_twice_with_one_label_is_one() -> None:
    found = MetadataLabels("")
    found.add(Metadata("dataset.json", json.dumps({"labels": [["a.png", 1], ["a.png", 1]]}).encode()))
    found.sort()
    assert not found.trouble


@pytest.mark.parametrize("label", ["x" * 257, "a\nb"])
def test_a_label_that_is_no_name_is_refused(label: str) -> None:
    found = MetadataLabels("")
    assert not found.add(dataset("dataset.json", **{"a.png": label}))
    with pytest.raises(InputError, match="a label that is no name"):
        found.check()


def test_a_row_takes_a_dozen_bytes_and_not_more() -> None:
    found = MetadataLabels("")
    found.add(dataset("dataset.json", **{f"{n:08d}.png": n % 10 for n in range(10_000)}))
    found.sort()
    held = sum(column.itemsize * len(column) for column in vars(found).values() if hasattr(column, "itemsize"))
    assert held + len(found._named) == 13 * 10_000


def test_labels_of_too_many_classes_take_no_memory_and_end_only_who_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "MAX_CLASSES", 3)
    found = MetadataLabels("")
    found.add(dataset("dataset.json", **{f"{n}.png": f"class {n}" for n in range(2000)}))
    found.sort()
    found.try_name("1999.png")
    assert len(found._names) == len(found._numbers) == 4
    assert found.label("3.png") == "class 3"
    with pytest.raises(InputError, match="classes"):
        found.label("4.png")
