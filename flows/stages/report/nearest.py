"""The training images nearest to samples; if a sample copies a training image, they include it."""

import numpy as np

from infra.outputs.images import DatasetReader, Images


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
