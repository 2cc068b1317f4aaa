"""The images that points are measured on: some held-out ones, and the sums over training images' features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddpm_core.metrics.frechet import FeatureStats
from infra.features.pixels import averaged_pixels
from infra.outputs.images import DatasetReader

# Files read at most per split, so that a large data set is not read whole.
_FILES = 16
REFERENCE_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class WatchedImages:
    """The images that every point is measured on.

    Attributes:
        split: `test`, or `train` if no image was held out.
        images: uint8 [n, c, h, w].
        labels: int64 [n].
        ids: Their numbers in the split, int64 [n], which their noise depends on.
    """

    split: str
    images: Tensor
    labels: Tensor
    ids: Tensor


def watched_images(reader: DatasetReader, limit: int) -> WatchedImages:
    """Load at most `limit` images, spread evenly over the held-out split, or over the training split if that is empty.

    Spread, because the first images of a split may all be of one class.
    """
    split = "test" if sum(unit["rows"] for unit in reader.units("test")) else "train"
    images, labels, ids = (torch.cat(column) for column in zip(*_spread(reader, split, limit), strict=True))
    return WatchedImages(split=split, images=images, labels=labels, ids=ids)


def reference_statistics(reader: DatasetReader) -> Iterator[FeatureStats]:
    """Yield the sums over the averaged pixels of training images after each file; the last is of all.

    They are at most 10,000, spread evenly over the split.
    """
    stats: FeatureStats | None = None
    for images, _, _ in _spread(reader, "train", REFERENCE_IMAGES):
        features = averaged_pixels(images)
        stats = (stats or FeatureStats.empty(features.shape[1])).update(features)
        yield stats


def _spread(reader: DatasetReader, split: str, limit: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images, labels and numbers, file by file, of at most `limit` images from at most 16 files of a split."""
    units = [unit for unit in reader.units(split) if unit["rows"]]
    firsts = np.cumsum([0, *(unit["rows"] for unit in units)])
    files = min(len(units), _FILES)
    places = [place * len(units) // files for place in range(files)]
    ends = np.cumsum([units[place]["rows"] for place in places])
    count = min(limit, int(ends[-1]))
    wanted = np.arange(count) * int(ends[-1]) // count
    for place, end in zip(places, ends, strict=True):
        rows = wanted[(wanted >= end - units[place]["rows"]) & (wanted < end)] - (end - units[place]["rows"])
        if len(rows):
            images, labels = reader.load_unit(units[place])
            numbers = torch.from_numpy(rows + firsts[place]).long()
            yield torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]).long(), numbers
