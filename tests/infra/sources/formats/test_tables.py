"""Text tables that label images or split them: their names, heads and rows, and broken ones."""

import pytest

from infra.errors import InputError, Term
from infra.sources.formats.metadata import too_large
from infra.sources.formats.tables import PassedOver, split_of_table, table_kind, table_labels, table_splits
from infra.sources.source import Metadata

CELEBA = "2\nMale Young \n000001.jpg -1  1\n000002.jpg  1 -1\n"
TINY = "val_0.JPEG\tn03444034\t0\t32\t44\t62\nval_1.JPEG\tn04067472\t52\t55\t57\t59\n"


def labels(name: str, text: str, picked: str = "") -> object:
    found = table_labels(Metadata(name, text.encode()), picked)
    return found if found is None or isinstance(found, PassedOver) else list(found)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("celeba/list_attr_celeba.txt", ""),
        ("list_attr_celeba.csv", ""),
        ("identity_CelebA.txt", ""),
        ("list_eval_partition.txt", ""),
        ("splits.csv", ""),
        ("val/val_annotations.txt", "val"),
        ("a.zip!x/train.csv", "train"),
        ("trainLabels.csv", "train"),
        ("validation_list.txt", "val"),
        ("Testing_set.csv", "test"),
    ],
)
def test_names(name: str, split: str) -> None:
    assert table_kind(name) is not None
    assert split_of_table(name) == split


@pytest.mark.parametrize(
    "name",
    [
        "list_bbox_celeba.txt",
        "n01443537_boxes.txt",
        "train_test_split.txt",
        "words.txt",
        "train.csv/1.png",
        "train",
        "train.csv.gz",
        "trainer.csv",
        "metadata.csv",
        "images.txt",
    ],
)
def test_names_of_no_table(name: str) -> None:
    assert table_kind(name) is None
    assert split_of_table(name) == ""


@pytest.mark.parametrize(
    ("name", "text", "picked", "expected"),
    [
        ("list_attr_celeba.txt", CELEBA, "Young", [("000001.jpg", "1"), ("000002.jpg", "-1")]),
        ("list_attr_celeba.txt", CELEBA.replace("\n", "\r\n"), "Male", [("000001.jpg", "-1"), ("000002.jpg", "1")]),
        ("list_attr_celeba.csv", "image_id,Male,Young\na.jpg,-1,1\n", "Male", [("a.jpg", "-1")]),
        ("identity_CelebA.txt", "000001.jpg 2880\n", "identity", [("000001.jpg", "2880")]),
        ("val_annotations.txt", TINY, "", [("val_0.JPEG", "n03444034"), ("val_1.JPEG", "n04067472")]),
        ("train.csv", "\ufeffid,label\n1,frog\n", "", [("1", "frog")]),
        ("train.csv", "Label,Filename\nfrog,1.png\n", "", [("1.png", "frog")]),
        ("train.csv", ",id,class\n0,1.png,3.0\n", "", [("1.png", 3)]),
        ("train.csv", 'image;label\n1.png;"a;b"\n', "", [("1.png", "a;b")]),
        ("train.csv", "1.png,frog\n", "", [("1.png", "frog")]),
        ("train.csv", "id_code,diagnosis\n000c,2\n", "diagnosis", [("000c", "2")]),
        ("train.txt", "a/1.JPEG 65\n\nb/2.JPEG 970\n", "", [("a/1.JPEG", "65"), ("b/2.JPEG", "970")]),
        ("train.csv", "id,label\n", "", []),
        ("train.csv", "id,image_path,label\n0,train/5.png,cat\n", "", [("train/5.png", "cat")]),
        ("train.txt", "1.png 10 20 30 40\n", "1", [("1.png", "10")]),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_labels(name: str, text: str, picked: str, expected: list[tuple[str, object]]) -> None:
    assert labels(name, text, picked) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.png\nb.png\n",
        "the images of training\nare in train\n",
        "label,pixel0\n3,0\n",
        "label\n1\n",
        "7\n",
        "\n\n",
    ],
    ids=str,
)
def test_what_is_no_table_of_images_is_none(text: str) -> None:
    assert labels("train.txt", text) is None


@pytest.mark.parametrize(
    ("name", "text", "picked", "cause", "choice"),
    [
        ("list_attr_celeba.txt", CELEBA, "", "has several labels per image (Male, Young)", "column:NAME takes one"),
        (
            "list_attr_celeba.csv",
            "image_id,a,b,c,d,e\n1.jpg,1,1,1,1,1\n",
            "",
            "has several labels per image (a, b, c and 2 more)",
            "column:NAME",
        ),
        ("identity_CelebA.txt", "1.jpg 7\n", "", "has no labels but identity", "column:identity takes that"),
        ("list_attr_celeba.txt", CELEBA, "male", "has no column male: it has Male, Young", ""),
        ("train.csv", "id_code,diagnosis\n000c,2\n", "", "has no labels but diagnosis", "column:diagnosis takes that"),
        ("train.txt", "1.png 10 20 30\n", "", "has several labels per image (1, 2, 3)", "column:NAME takes one"),
    ],
)
def test_a_table_without_labels_says_what_it_has(name: str, text: str, picked: str, cause: str, choice: str) -> None:
    found = labels(name, text, picked)
    assert isinstance(found, PassedOver)
    assert found.cause == f"{name} {cause}"
    assert choice in found.choice
    assert bool(choice) == (f"{Term.LABELS}=" in found.choice)


def test_a_head_that_cannot_be_read_and_a_table_that_is_too_large_are_passed_over() -> None:
    broken = table_labels(Metadata("train.csv", b"\xff\xfe\0,label\n"), "")
    assert isinstance(broken, PassedOver)
    assert broken.cause.startswith("train.csv cannot be read")
    large = table_labels(Metadata("x/train.csv", too_large("x/train.csv")), "")
    assert large == PassedOver("train.csv is larger than 64 MiB")


@pytest.mark.parametrize("row", ["2.png", "my frog.png 3 4", "2.png 1 2 3"])
def test_a_row_of_another_length_is_named(row: str) -> None:
    with pytest.raises(InputError, match=r"row 2 has \d columns and not 2") as caught:
        labels("x/train.txt", f"1.png 1\n{row}\n")
    assert (caught.value.item, Term.LABELS in caught.value.remedy) == ("x/train.txt", True)


def test_a_column_that_is_not_taken_takes_no_memory_and_no_time() -> None:
    """Only the cells of the name and of the label are looked at as values."""
    text = "image_id,a,label\n1.png,[broken,cat\n"
    assert labels("train.csv", text) == [("1.png", "cat")]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list_eval_partition.txt", "1.jpg 0\n2.jpg 1\n3.jpg 2\n", ["train", "val", "test"]),
        ("list_eval_partition.csv", "image_id,partition\n1.jpg,0\n2.jpg,2\n", ["train", "test"]),
        ("splits.csv", "file_name,Split\n1.jpg,Training\n2.jpg,valid\n3.jpg, test\n", ["train", "val", "test"]),
    ],
)
def test_splits(name: str, text: str, expected: list[str]) -> None:
    found = table_splits(Metadata(name, text.encode()))
    assert found is not None
    assert [split for _, split in found] == expected


@pytest.mark.parametrize("text", ["", "file_name,label\n1.png,train\n", "how we split\nthe images\n"])
def test_a_table_without_splits_gives_none(text: str) -> None:
    assert table_splits(Metadata("splits.csv", text.encode())) is None


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        (Metadata("x/splits.csv", b"1.jpg,3\n"), "'3' is no split"),
        (Metadata("x/splits.csv", b"1.jpg,0\n2.jpg\n"), "row 2 has 1 columns"),
        (Metadata("x/splits.csv", b"\xff\xfe"), "cannot be read"),
        (Metadata("x/splits.csv", too_large("x/splits.csv")), "larger than 64 MiB"),
    ],
    ids=["value", "length", "bytes", "size"],
)
def test_broken_splits_are_refused_with_the_way_on(file: Metadata, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        list(table_splits(file) or ())
    assert caught.value.item == "x/splits.csv"
    assert Term.TAKE_NO_SPLITS in caught.value.remedy
