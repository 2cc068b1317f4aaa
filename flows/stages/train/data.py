"""The images of a training run, slot by slot, with all of them in memory or one window."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_core.training_order import Order, TrainingOrder, TwoLevelOrder
from infra.outputs.images import DatasetReader
from infra.outputs.rows import RowReader

# Returns the images, uint8 [b, c, h, w], and labels [b] of some slots.
TrainingData = Callable[[Tensor], tuple[Tensor, Tensor]]


def training_data(reader: DatasetReader, seed: int, shuffle_images: int) -> TrainingData:
    """Return the function that gives each slot of the run its image and label.

    Args:
        reader: The reader of the data set.
        seed: The run's seed.
        shuffle_images: Images to mix at a time; 0, or the number of all or more, mixes all and keeps them in memory.
    """
    sizes = [unit["rows"] for unit in reader.units("train")]
    if not 0 < shuffle_images < sum(sizes):
        return _in_memory(reader, TrainingOrder(seed, sum(sizes)))
    # A batch may span two windows, and a window exceeds its size by less than a file.
    rows = RowReader(reader, "train", 2 * (shuffle_images + max(sizes)), by_file=True)
    return _windowed(rows, TwoLevelOrder(seed, sizes, shuffle_images))


def _in_memory(reader: DatasetReader, order: Order) -> TrainingData:
    images, labels = (torch.from_numpy(array) for array in reader.load("train"))
    labels = labels.long()

    def data(slots: Tensor) -> tuple[Tensor, Tensor]:
        chosen = order(slots)
        return images[chosen], labels[chosen]

    return data


def _windowed(rows: RowReader, order: Order) -> TrainingData:
    def data(slots: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = rows(order(slots).numpy())
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    return data
