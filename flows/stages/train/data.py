"""The images of a training run, slot by slot: all of them on the device or in memory, or one window in memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_core.training_order import Order, TrainingOrder, TwoLevelOrder
from infra.compute.transfer import free_bytes, to_device
from infra.outputs.images import DatasetReader
from infra.outputs.rows import RowReader

# Returns the images, uint8 [b, c, h, w], and labels [b] of some slots.
TrainingData = Callable[[Tensor], tuple[Tensor, Tensor]]
# Of a device's free memory; the rest is for weights, moments, gradients and activations, which come after the images.
LARGEST_SHARE = 0.25
_CPU = torch.device("cpu")


def training_data(
    reader: DatasetReader,
    seed: int,
    shuffle_images: int,
    device: torch.device = _CPU,
    free: Callable[[torch.device], int] = free_bytes,
) -> TrainingData:
    """Return the function that gives each slot of the run its image and label.

    The images are on the device if all of them take at most a quarter of its free memory, else on the host; labels are
    on the host.

    Args:
        reader: The reader of the data set.
        seed: The run's seed.
        shuffle_images: Images to mix at a time; 0, or the number of all or more, mixes all and keeps them in memory.
        device: The training device.
        free: Returns the free memory of a device in bytes.
    """
    sizes = [unit["rows"] for unit in reader.units("train")]
    if not 0 < shuffle_images < sum(sizes):
        return _in_memory(reader, TrainingOrder(seed, sum(sizes)), device, free)
    # A batch may span two windows, and a window exceeds its size by less than a file.
    rows = RowReader(reader, "train", 2 * (shuffle_images + max(sizes)), by_file=True)
    return _windowed(rows, TwoLevelOrder(seed, sizes, shuffle_images))


def _in_memory(
    reader: DatasetReader, order: Order, device: torch.device, free: Callable[[torch.device], int]
) -> TrainingData:
    images, labels = (torch.from_numpy(array) for array in reader.load("train"))
    labels = labels.long()
    if images.nbytes <= LARGEST_SHARE * free(device):
        images = images.to(device)

    def data(slots: Tensor) -> tuple[Tensor, Tensor]:
        chosen = order(slots)
        return images[to_device(chosen, images.device)], labels[chosen]

    return data


def _windowed(rows: RowReader, order: Order) -> TrainingData:
    def data(slots: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = rows(order(slots).numpy())
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    return data
