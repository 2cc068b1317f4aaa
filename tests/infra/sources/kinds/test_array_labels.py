"""Labels and splits of NumPy's files: by name beside them, or by key."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.reading import Reading
from infra.sources.source import Other
from tests.infra.sources.kinds.test_arrays import entries, noise, pixels, source


def unlabelled(folder: Path) -> ArraySource:
    return ArraySource(FileSet((str(folder),)), Reading(labels="none"))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([3, 1, 2]), ["3", "1", "2"]),
        (np.array([[3], [1], [2]], dtype=np.uint8), ["3", "1", "2"]),
        (np.array([3, 1, 2], dtype=">i4"), ["3", "1", "2"]),
        (np.array(["cat", "dög", "cat"]), ["cat", "dög", "cat"]),
        (np.array([b"cat", b"dog", b"cat"]), ["cat", "dog", "cat"]),
    ],
    ids=["integers", "a column", "big endian", "text", "bytes"],
)
@pytest.mark.parametrize("name", ["a-labels.npy", "a_labels.npy", "arr_1", "labels"])
def test_labels(tmp_path: Path, labels: NDArray[np.generic], expected: list[str], name: str) -> None:
    images = noise(3, 4, 4)
    if name.endswith(".npy"):
        np.save(tmp_path / "a.npy", images)
        np.save(tmp_path / name, labels)
    else:
        np.savez(tmp_path / "a.npz", **{"arr_0" if name == "arr_1" else "images": images, name: labels})
    assert [entry.label for entry in entries(tmp_path)] == expected
    assert not [found for found in source(tmp_path).find() if isinstance(found, Other)]


@pytest.mark.parametrize(
    "keys",
    [
        {"x_train": "train", "x_test": "test"},
        {"train_images": "train", "val_images": "", "test_images": "test"},
        {"x_train": "train", "x_val": "test"},
    ],
)
def test_splits_by_key(tmp_path: Path, keys: dict[str, str]) -> None:
    arrays = {key: noise(number + 1, 4, 4) for number, key in enumerate(keys)}
    labels = {key.replace("x_", "y_").replace("images", "labels"): np.arange(len(a)) for key, a in arrays.items()}
    np.savez_compressed(tmp_path / "set.npz", **labels, **arrays)
    found = entries(tmp_path)
    expected = [(split, str(n)) for key, split in keys.items() for n in range(len(arrays[key]))]
    assert [(entry.split, entry.label) for entry in found] == expected
    assert np.array_equal(np.stack(pixels(tmp_path, found)), np.concatenate(list(arrays.values())))


def test_labels_of_no_images(tmp_path: Path) -> None:
    """They are another file if their number is not that of any images beside them, or if no labels count."""
    np.save(tmp_path / "a.npy", noise(2, 4, 4))
    np.save(tmp_path / "lonely-labels.npy", np.arange(3))
    assert [found for found in source(tmp_path).find() if isinstance(found, Other)] == [Other("lonely-labels.npy")]
    np.save(tmp_path / "lonely-labels.npy", np.arange(2))
    with pytest.raises(InputError, match="labels no images") as caught:
        entries(tmp_path)
    assert caught.value.item == str(tmp_path / "lonely-labels.npy")
    assert Term.LABELS in caught.value.remedy
    found = list(unlabelled(tmp_path).find())
    assert [one.name for one in found if isinstance(one, Other)] == ["lonely-labels.npy"]
    assert len(found) == 3


@pytest.mark.parametrize("form", ["npy", "keys"])
@pytest.mark.parametrize(
    ("images", "labels", "names"),
    [("X", "y", "classes"), ("images", "labels", "classes"), ("data", "target", "target_names"), ("x", "", "classes")],
)
def test_names_of_classes_beside_labels(tmp_path: Path, form: str, images: str, labels: str, names: str) -> None:
    """They are no labels of images; also if they are stored as Python objects, as pandas gives them."""
    arrays = {
        images: noise(3, 4, 4),
        names: np.array(["cat", "dog"]),
        **({labels: np.array([1, 0, 1])} if labels else {}),
    }
    if form == "npy":
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    else:
        np.savez(tmp_path / "set.npz", **arrays)
    assert [entry.label for entry in entries(tmp_path)] == (["1", "0", "1"] if labels else [""] * 3)
    if form == "npy":
        np.save(tmp_path / f"{names}.npy", arrays[names].astype(object))
        assert Other(f"{names}.npy") in list(source(tmp_path).find())


def test_one_of_two_files_of_labels_fits(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise(3, 4, 4))
    np.save(tmp_path / "labels.npy", np.arange(4))
    np.save(tmp_path / "y.npy", np.arange(3))
    assert [entry.label for entry in entries(tmp_path)] == ["0", "1", "2"]
    assert Other("labels.npy") in list(source(tmp_path).find())


@pytest.mark.parametrize("images", ["train_images.npy", "train-images.npy", "train.npy"])
@pytest.mark.parametrize("labels", ["train_labels.npy", "train-labels.npy"])
def test_images_and_labels_of_one_name(tmp_path: Path, images: str, labels: str) -> None:
    np.save(tmp_path / images, noise(2, 4, 4))
    np.save(tmp_path / labels, np.array([3, 5]))
    assert [(entry.split, entry.label) for entry in entries(tmp_path)] == [("train", "3"), ("train", "5")]


def test_two_files_of_labels_for_one_of_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(2, 4, 4))
    for name in ("a-labels.npy", "a_labels.npy"):
        np.save(tmp_path / name, np.arange(2))
    with pytest.raises(InputError, match="is a second file of the same labels") as caught:
        entries(tmp_path)
    assert caught.value.item == str(tmp_path / "a_labels.npy")
    assert len(list(unlabelled(tmp_path).find())) == 4


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("X_train", "y_train"),
        ("x", "y"),
        ("data", "targets"),
        ("images", "labels"),
        ("Images", "LABELS"),
        ("photos", "labels"),
        ("trainX", "trainY"),
        ("train_imgs", "train_label"),
        ("x_train", "train_labels"),
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz", "keys"])
def test_names_that_people_give(tmp_path: Path, images: str, labels: str, form: str) -> None:
    pixels_given, classes = noise(3, 4, 4), np.array([[5], [6], [5]])
    if form == "npy":
        np.save(tmp_path / f"{images}.npy", pixels_given)
        np.save(tmp_path / f"{labels}.npy", classes)
    elif form == "npz":  # as KMNIST has them
        np.savez_compressed(tmp_path / f"{images}.npz", pixels_given)
        np.savez_compressed(tmp_path / f"{labels}.npz", classes)
    else:
        np.savez(tmp_path / "set.npz", **{labels: classes, images: pixels_given})
    split = "train" if "train" in images.lower() else ""
    found = entries(tmp_path)
    assert [(entry.split, entry.label) for entry in found] == [(split, "5"), (split, "6"), (split, "5")]
    assert np.array_equal(np.stack(pixels(tmp_path, found)), pixels_given)


def test_several_files_of_several_splits(tmp_path: Path) -> None:
    """Each with its own labels, and none for the last."""
    for split, count in (("train", 2), ("test", 3), ("val", 1)):
        np.save(tmp_path / f"X_{split}.npy", noise(count, 4, 4))
        if split != "val":
            np.save(tmp_path / f"y_{split}.npy", np.arange(count))
    found = [(entry.split, entry.label) for entry in source(tmp_path).find()]  # type: ignore[union-attr]
    assert [label for _, label in found] == ["0", "1", "2", "0", "1", ""]


def test_an_archive_with_labels_in_its_name_may_hold_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "images_and_labels.npz", x=noise(2, 4, 4), y=np.arange(2))
    assert [entry.label for entry in entries(tmp_path)] == ["0", "1"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_channels_may_come_first(tmp_path: Path, channels: int, name: str) -> None:
    images = noise(2, channels, 8, 6)
    (np.savez if name.endswith("npz") else np.save)(tmp_path / name, images)
    found = entries(tmp_path)
    last = images.transpose(0, 2, 3, 1)
    assert np.array_equal(np.stack(pixels(tmp_path, found)).reshape(last.shape), last)
