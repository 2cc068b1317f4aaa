"""What the name of an array says, by its words."""

import pytest

from infra.sources.formats.array_names import array_name


@pytest.mark.parametrize(
    ("name", "role", "split", "words"),
    [
        ("x", "images", "", ()),
        ("Y", "labels", "", ()),
        ("images", "images", "", ()),
        ("targets", "labels", "", ()),
        ("X_train", "images", "train", ("train",)),
        ("y_train", "labels", "train", ("train",)),
        ("Xtest", "images", "test", ("test",)),
        ("trainY", "labels", "train", ("train",)),
        ("train_images", "images", "train", ("train",)),
        ("validation-labels", "labels", "val", ("val",)),
        ("kmnist-train-imgs", "images", "train", ("kmnist", "train")),
        ("data-labels", "labels", "", ("data",)),
        ("labels_of_data", "labels", "", ("of", "data")),
        ("photos", "", "", ("photos",)),
        ("my y photos", "", "", ("my", "y", "photos")),
        ("train", "", "train", ("train",)),
        ("arr_0", "", "", ("arr", "0")),
        ("", "", "", ()),
    ],
)
def test_role_split_and_the_other_words(name: str, role: str, split: str, words: tuple[str, ...]) -> None:
    found = array_name(name)
    assert (found.role, found.split, found.words) == (role, split, words)


@pytest.mark.parametrize(
    ("labels", "images", "expected"),
    [
        ("y_train", "X_train", True),
        ("train_labels", "x_train", True),
        ("valid_y", "val_x", True),
        ("a-labels", "a", True),
        ("a-labels", "a-images", True),
        ("data_labels", "data", True),
        ("labels", "data", True),
        ("y_test", "X_train", False),
        ("b-labels", "a", False),
    ],
)
def test_labels_and_their_images(labels: str, images: str, expected: bool) -> None:
    assert array_name(labels).labels(array_name(images)) is expected
