"""The digits that scikit-learn ships, prepared."""

from infra.outputs.images import DatasetReader
from tests.conftest import TinyRun


def test_the_digits(tiny_run: TinyRun) -> None:
    dataset = tiny_run.dataset
    assert dataset.train_images + dataset.test_images == 1797
    assert dataset.levels == 17
    assert len(dataset.class_names) == 10
    reader = DatasetReader(store=tiny_run.store, manifest=dataset.manifest(tiny_run.store))
    assert len(reader.load("train")[0]) == dataset.train_images
    assert len(reader.load("test")[0]) == dataset.test_images
