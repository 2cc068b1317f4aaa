"""Examples of the rules about names; each test names the rule that it shows."""

import pytest

from infra.sources.reading import Reading
from tests.infra.sources.listing.test_placing import files, folders, place


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "TRAINING", "trainset", "train_set", "train-images", "train 1")
        ),
        *((name, "test") for name in ("test", "testing", "Test_data", "testset", "test2", "test_imgs")),
        *((name, "test") for name in ("val", "valid", "validation", "val2017", "val-set")),
        *((name, "") for name in ("trains", "trainer", "tests", "testament", "valley", "value", "pretrain", "x-train")),
        *((name, "") for name in ("train-shoes", "test tube", "")),
    ],
)
def test_names_of_folders(name: str, split: str) -> None:
    """Rule 2."""
    path = f"{name}/x".strip("/")
    assert place(*folders(path, "other"), reading=Reading(label_depth=0))[0] == ((split, "x") if split else ("", path))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train.npy", "training-set.npy", "train-00000-of-00002.parquet", "train/a.npy")),
        *((name, "test") for name in ("TestSet.npy", "validation-00000-of-00002.parquet", "val.npz", "cats/test.npy")),
        *((name, "") for name in ("valley.npy", "trains.npy", "testament.npy", "contest.npy", "pretrain.npy")),
        *((name, "train") for name in ("imagenet1k-train-0000.tar", "x_train.npy", "kmnist-train-imgs.npz")),
        *((name, "test") for name in ("imagenet1k-validation-00.tar", "cifar10_test.tar")),
        ("train/test.npy", "train"),
    ],
)
def test_names_of_files(name: str, split: str) -> None:
    """Rule 3."""
    assert place(*files(name)) == [(split, "")]
