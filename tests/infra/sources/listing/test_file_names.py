"""Classes in the names of files: which names have a word, and when words are classes."""

import pytest

from infra.sources.listing.file_names import FileNames, class_word, last_number


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("cat_0001.png", "cat"),
        ("dog.12.jpg", "dog"),
        ("x/y/Abyssinian_100.jpg", "Abyssinian"),
        ("american_bulldog_7.jpg", "american_bulldog"),
        ("n01440764_10026.JPEG", "n01440764"),
        ("cat (12).jpg", "cat"),
        ("cat-01-02.png", "cat"),
        ("a.tar!x/cat_1.png", "cat"),
        ("a.tar!cat_1.png", "cat"),
        ("T-shirt 3.png", "T-shirt"),
        ("cat_000.image.png", "cat"),
        ("a.tar!x/cat_000.left-view.png", "cat"),
        ("cat_000_mask.png", "cat"),
        ("cat.v1_12.png", "cat.v1"),
        ("cat.image.png", ""),
        ("00012.png", ""),
        ("20190712_123456.jpg", ""),
        ("cat.png", ""),
        ("cat1.png", ""),
        ("IMG-20190712-WA0001.jpg", ""),
        ("digits/0001", ""),
        ("", ""),
    ],
)
def test_words(name: str, word: str) -> None:
    assert class_word(name) == word


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("00012.png", 12),
        ("x9/cat_7.png", 7),
        ("a9.tar!00012.image.png", 12),
        ("00012_mask.png", 12),
        ("12.34.png", 34),
        ("digits/0001", 1),
        ("x9/cat.png", None),
        ("1/cat.v2a.png", None),
    ],
)
def test_the_last_number(name: str, number: int | None) -> None:
    assert last_number(name) == number


@pytest.mark.parametrize(
    ("names", "are"),
    [
        (("cat_1.png", "dog_1.png", "cat_2.png", "dog_2.png"), True),
        (("cat_1.png", "cat_2.png"), False),
        (("cat_1.png", "dog_1.png", "cat_2.png"), False),
        (("cat_1.png", "dog_1.png", "cat_2.png", "dog_2.png", "logo.png"), False),
        (("IMG_1.jpg", "DSC_1.jpg", "IMG_2.jpg", "DSC_2.jpg"), False),
        (("IMG_20190712_1.jpg", "IMG_20190713_1.jpg", "IMG_20190712_2.jpg", "IMG_20190713_2.jpg"), False),
        (("train_1.png", "test_1.png", "train_2.png", "test_2.png"), False),
        (("COCO_train2014_1.jpg", "COCO_val2014_1.jpg", "COCO_train2014_2.jpg", "COCO_val2014_2.jpg"), False),
        (("1.png", "2.png"), False),
        ((), False),
    ],
    ids=str,
)
def test_when_words_are_classes(names: tuple[str, ...], are: bool) -> None:
    found = FileNames()
    for name in names:
        found.add(name)
    assert found.are_classes is are
