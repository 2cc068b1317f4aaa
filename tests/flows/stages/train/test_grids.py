"""The grids along a training: those that its points sealed, at their places, and not too many."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from flows.points import Point, points_facts, read_points
from flows.stages.train.grids import MOST_PICTURES, _spread, grids_along
from infra.digests import sha256
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.tensors import decode_tensors, encode_tensors
from tests.conftest import TinyRun


@pytest.fixture
def trained(tiny_run: TinyRun) -> Manifest:
    """The tiny training, of its last point and a further one before it."""
    manifest, store = tiny_run.snapshot.manifest(tiny_run.store), tiny_run.store
    *_, last = read_points(manifest.facts)
    data = encode_tensors({"grid": torch.arange(16 * 64, dtype=torch.uint8).reshape(16, 1, 8, 8)}, {})
    store.replace(f"{manifest.folder}/watch/first.safetensors", data)
    watch = {"file": "watch/first.safetensors", "sha256": sha256(data), "bytes": len(data)}
    first = replace(last, images_seen=640, watch=watch, time_ms=last.time_ms - 1000)
    return replace(manifest, facts=manifest.facts | points_facts([first, last]))


def test_each_point_has_the_images_that_it_sealed(tiny_run: TinyRun, trained: Manifest) -> None:
    store = tiny_run.store
    points = [point for point in read_points(trained.facts) if point.watch is not None]
    pictures = grids_along(store, trained)
    assert len(points) == 2
    assert [(one.step, one.time_ms) for one in pictures] == [(point.images_seen, point.time_ms) for point in points]
    for point, picture in zip(points, pictures, strict=True):
        assert point.watch is not None
        tensors, _ = decode_tensors(read_verified(store, trained.folder, point.watch), point.watch["file"])
        pixels = np.asarray(Image.open(BytesIO(picture.png)).convert("L"))
        first, last = (tensors["grid"][number, 0].numpy() for number in (0, -1))
        # 4 by 4 images of 8 by 8 pixels, each eight times as large, with a white line of four pixels around each.
        assert pixels.shape == (4 * 68 + 4, 4 * 68 + 4)
        assert np.array_equal(pixels[4:68:8, 4:68:8], first)
        assert np.array_equal(pixels[-68:-4:8, -68:-4:8], last)


def test_a_damaged_file_costs_its_own_picture_alone(tiny_run: TinyRun, trained: Manifest) -> None:
    whole = grids_along(tiny_run.store, trained)
    (damaged, *_) = (point for point in read_points(trained.facts) if point.watch is not None)
    assert damaged.watch is not None
    tiny_run.store.replace(f"{trained.folder}/{damaged.watch['file']}", b"damaged")
    assert grids_along(tiny_run.store, trained) == whole[1:] != []


@pytest.mark.parametrize("count", [0, 1, 2, MOST_PICTURES, MOST_PICTURES + 1, 1000])
def test_at_most_twenty_are_shown_from_the_first_to_the_last(count: int) -> None:
    points = [Point(images_seen=place, file="f", sha256="d", bytes=1) for place in range(count)]
    places = [point.images_seen for point in _spread(points)]
    assert places == sorted({*places})
    assert len(places) == min(count, MOST_PICTURES)
    assert {places[0], places[-1]} == {0, count - 1} if places else not count
    gaps = np.diff(places)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
