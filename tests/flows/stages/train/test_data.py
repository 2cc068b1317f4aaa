"""A window of the data set in memory gives the same run as all of it would, image by image."""

import pytest
import torch

from ddpm_core.training_order import TwoLevelOrder
from flows.stages.train.config import TrainConfig
from flows.stages.train.data import training_data
from infra.outputs.images import DatasetReader
from tests.flows.stages.train.bench import Bench, snapshot


@pytest.fixture
def reader(bench: Bench) -> DatasetReader:
    return DatasetReader(store=bench.store, manifest=bench.dataset.manifest(bench.store))


def test_a_window_shows_the_images_of_its_order(bench: Bench, reader: DatasetReader) -> None:
    images, labels = reader.load("train")
    sizes = [unit["rows"] for unit in reader.units("train")]
    slots = torch.arange(2 * len(images))
    chosen = TwoLevelOrder(4, sizes, 20)(slots)
    shown, classes = training_data(reader, 4, 20)(slots)
    assert torch.equal(shown, torch.from_numpy(images)[chosen])
    assert torch.equal(classes, torch.from_numpy(labels).long()[chosen])


@pytest.mark.parametrize("beyond", [0, 1, 1000])
def test_a_window_of_everything_is_the_whole_set(bench: Bench, reader: DatasetReader, beyond: int) -> None:
    size = bench.dataset.train_images
    slots = torch.arange(5, 5 + size)
    whole, windowed = training_data(reader, 4, 0), training_data(reader, 4, size + beyond)
    assert torch.equal(whole(slots)[0], windowed(slots)[0])


def test_a_run_with_a_window_resumes_bit_for_bit(bench: Bench, config: TrainConfig) -> None:
    windowed = config.model_copy(update={"shuffle_images": 20})
    whole = bench.output("whole")
    bench.train_anew(whole, windowed, 160)
    halves = bench.output("halves")
    bench.train_anew(halves, windowed, 80)
    bench.train_anew(halves, windowed, 160)
    assert snapshot(halves, 160) == snapshot(whole, 160)
