"""The images that points are measured on are spread over the split, and of large ones few files are read."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flows.stages.train.watch.images import reference_statistics, watched_images
from infra.features.pixels import averaged_pixels


class Files:
    """A data set of files whose images hold their own number in the split."""

    def __init__(self, **sizes: list[int]) -> None:
        self.sizes, self.read = sizes, []

    def units(self, split: str) -> list[dict[str, Any]]:
        sizes = self.sizes.get(split, [])
        return [{"rows": size, "first": sum(sizes[:number])} for number, size in enumerate(sizes)]

    def load_unit(self, unit: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        self.read.append(unit["first"])
        numbers = np.arange(unit["first"], unit["first"] + unit["rows"])
        images = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 1, 2, 2)).astype(np.uint8)
        return images, (numbers % 7).astype(np.int32)


def reader(**sizes: list[int]) -> Any:
    return Files(**sizes)


@pytest.mark.parametrize("limit", [1, 3, 10, 100, 1000])
def test_they_are_spread_evenly_and_know_their_numbers(limit: int) -> None:
    watched = watched_images(reader(test=[40, 0, 60], train=[5]), limit)
    assert watched.split == "test"
    assert len(watched.ids) == min(limit, 100)
    assert torch.equal(watched.images[:, 0, 0, 0].long(), watched.ids)
    assert torch.equal(watched.labels, watched.ids % 7)
    gaps = watched.ids.diff()
    assert not len(gaps) or int(gaps.max() - gaps.min()) <= 1


def test_without_held_out_images_training_ones_are_taken() -> None:
    assert watched_images(reader(train=[30]), 10).split == "train"
    assert watched_images(reader(test=[0], train=[30]), 10).split == "train"


def test_few_files_of_a_large_split_are_read() -> None:
    files = reader(test=[2] * 100)
    watched = watched_images(files, 1000)
    assert len(files.read) == 16
    assert (files.read[0], files.read[-1]) == (0, 186)
    assert len(watched.ids) == 32
    assert torch.equal(watched.images[:, 0, 0, 0].long(), watched.ids)


def test_the_reference_is_the_sums_over_training_images() -> None:
    *_, stats = reference_statistics(reader(train=[40, 20]))
    features = averaged_pixels(torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)).double()
    assert stats.count == 60
    torch.testing.assert_close(stats.mean, features.mean(0))
    torch.testing.assert_close(stats.covariance, features.T.cov())
