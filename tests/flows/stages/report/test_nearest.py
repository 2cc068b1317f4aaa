"""The nearest images, against a search over all pairs in whole numbers."""

import numpy as np
import pytest

from flows.stages.report.nearest import nearest_images, read_pairs
from infra.outputs.images import DatasetReader, Images
from tests.conftest import TinyRun


class Files:
    """A data set of several files in memory, as `DatasetReader` hands it out."""

    def __init__(self, files: list[Images]) -> None:
        self.files = files

    def units(self, split: str) -> list[int]:
        assert split == "train"
        return list(range(len(self.files)))

    def load_unit(self, unit: int) -> tuple[Images, None]:
        return self.files[unit], None


def noise(count: int, seed: int, channels: int = 3) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, 4, 4), dtype=np.uint8)


def by_hand(queries: Images, images: Images, count: int) -> Images:
    """All squared distances in whole numbers, the first of equals first."""
    rows = []
    for query in queries:
        squared = [int(((query.astype(np.int64) - image) ** 2).sum()) for image in images]
        rows.append(images[sorted(range(len(images)), key=lambda place: (squared[place], place))[:count]])
    return np.stack(rows)


@pytest.mark.parametrize("sizes", [(40,), (10, 1, 29), (2, 3, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_they_are_those_of_a_search_over_all_pairs(sizes: tuple[int, ...], channels: int) -> None:
    files = [noise(size, seed, channels) for seed, size in enumerate(sizes)]
    queries = noise(5, 99, channels)
    expected = by_hand(queries, np.concatenate(files), 7)
    assert np.array_equal(nearest_images(queries, Files(files), 7), expected)


def test_a_copy_of_a_training_image_comes_first_in_whichever_file_it_is() -> None:
    files = [noise(10, seed) for seed in range(3)]
    queries = np.stack([files[2][3], files[0][9], files[1][0]])
    assert np.array_equal(nearest_images(queries, Files(files), 4)[:, 0], queries)


def test_among_equals_the_earlier_comes_first() -> None:
    query = np.zeros((1, 1, 2, 2), dtype=np.uint8)
    # Each is at distance 9, in another pixel.
    corners = [np.zeros((1, 1, 2, 2), dtype=np.uint8) for _ in range(4)]
    for place, corner in enumerate(corners):
        corner.reshape(-1)[place] = 3
    files = [np.concatenate(corners[:2]), np.concatenate(corners[2:])]
    assert np.array_equal(nearest_images(query, Files(files), 3)[0], np.concatenate(corners[:3]))


def test_fewer_training_images_than_asked_for_are_all_there() -> None:
    assert nearest_images(noise(2, 0), Files([noise(1, 1), noise(2, 2)]), 7).shape == (2, 3, 3, 4, 4)


def test_it_reads_a_sealed_data_set(tiny_run: TinyRun) -> None:
    training = DatasetReader(store=tiny_run.store, manifest=tiny_run.dataset.manifest(tiny_run.store))
    images, _ = training.load("train")
    queries = 255 - images[:2]
    assert np.array_equal(nearest_images(queries, training, 3), by_hand(queries, images, 3))


def test_pairs_are_read_by_their_numbers(tiny_run: TinyRun) -> None:
    drawn, training = (
        DatasetReader(store=tiny_run.store, manifest=output.manifest(tiny_run.store))
        for output in (tiny_run.samples, tiny_run.dataset)
    )
    last = tiny_run.dataset.train_images - 1
    numbers = [(20, last), (3, 0), (3, 7)]
    rows = [{"sample": sample, "training_image": image, "distance": 1.0, "ratio": 0.5} for sample, image in numbers]
    pairs = read_pairs({"pairs": rows, "limit": 0.25}, drawn, training)
    assert np.array_equal(pairs.samples, drawn.load("samples")[0][[20, 3, 3]])
    assert np.array_equal(pairs.training, training.load("train")[0][[last, 0, 7]])
    assert (pairs.rows, pairs.limit) == (rows, 0.25)
