"""The training images nearest to samples; if a sample copies a training image, they include it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.digests import Json
from infra.outputs.images import DatasetReader, Images
from infra.outputs.rows import RowReader


@dataclass(frozen=True, kw_only=True)
class NearestPairs:
    """The samples most like one training image in the features of a metric, the most similar first.

    Attributes:
        samples: uint8 [n, channels, height, width].
        training: The nearest training image of each, in the same shape.
        rows: For each the numbers `sample` and `training_image` from 0, their `distance`, and its `ratio` to the mean
            distance of the nearest training images.
        limit: The ratio up to which a sample counts as memorised.
    """

    samples: Images
    training: Images
    rows: Sequence[Mapping[str, Any]]
    limit: float


def read_pairs(sealed: Json, samples: DatasetReader, training: DatasetReader) -> NearestPairs:
    """Read the images that a metric found most alike.

    Args:
        sealed: The `pairs` and the `limit`, as `flows.metrics.memorisation` seals them.
        samples: The reader of the samples.
        training: The reader of the data set; its split `train` holds the training images.
    """

    def images(reader: DatasetReader, split: str, name: str) -> Images:
        # One row group in memory, since pairs lie far apart.
        found, _ = RowReader(reader, split, 1)(np.array([pair[name] for pair in sealed["pairs"]]))
        return found

    return NearestPairs(
        samples=images(samples, "samples", "sample"),
        training=images(training, "train", "training_image"),
        rows=sealed["pairs"],
        limit=sealed["limit"],
    )


def nearest_images(queries: Images, training: DatasetReader, count: int) -> Images:
    """Return, per image, the training images with the smallest squared distance between pixels, nearest first.

    The data set is read file by file, so only one file and the nearest images so far are in memory. Of equally distant
    images, the one earlier in the data set comes first.

    Args:
        queries: uint8 [n, channels, height, width].
        training: The data set; its split `train` is searched.
        count: Number of training images to return per query.

    Returns:
        uint8 [n, k, channels, height, width], where k is `count` or the number of training images if that is smaller.
    """
    flat = queries.reshape(len(queries), -1).astype(np.float32)
    distances = np.empty((len(queries), 0), dtype=np.float32)
    nearest = np.empty((len(queries), 0, *queries.shape[1:]), dtype=np.uint8)
    for unit in training.units("train"):
        images, _ = training.load_unit(unit)
        # Images of earlier files come first, so that the stable sort keeps the data set's order among equals.
        candidates = np.concatenate((distances, _squared_distances(flat, images)), axis=1)
        order = np.argsort(candidates, axis=1, kind="stable")[:, :count]
        rows = np.broadcast_to(np.arange(len(queries))[:, None], order.shape)
        earlier, new = distances.shape[1], order >= distances.shape[1]
        merged = np.empty((*order.shape, *queries.shape[1:]), dtype=np.uint8)
        merged[new] = images[order[new] - earlier]
        merged[~new] = nearest[rows[~new], order[~new]]
        distances, nearest = candidates[rows, order], merged
    return nearest


def _squared_distances(flat: np.ndarray, images: Images) -> np.ndarray:
    other = images.reshape(len(images), -1).astype(np.float32)
    return (flat**2).sum(1)[:, None] - 2 * flat @ other.T + (other**2).sum(1)
