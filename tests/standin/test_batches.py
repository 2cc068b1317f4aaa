"""Batches are made on the device and reach it without a wait, and so does the whole data set if there is room."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flows.stages.train.batches import Batches, BatchSource
from flows.stages.train.blocks import Blocks, steps_per_block
from flows.stages.train.config import TrainConfig
from flows.stages.train.data import TrainingData, training_data
from infra.compute.transfer import to_device
from tests.standin.device import DEVICE, RefusedError, stand_in
from tests.standin.networks import BATCH, SHAPE

COUNT = 10
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
LABELS = np.arange(COUNT)
STEPS = range(0, 3 * BATCH, BATCH)
# Free memory of the device in bytes.
ROOMS = {"too little": 4 * PIXELS.nbytes - 1, "enough": 4 * PIXELS.nbytes}


def data(free: int, device: torch.device = DEVICE) -> TrainingData:
    reader = SimpleNamespace(units=lambda _: [{"rows": COUNT}], load=lambda _: (PIXELS, LABELS))
    return training_data(reader, 0, 0, device, lambda _: free)


def source(free: int, device: torch.device = DEVICE) -> Blocks:
    config = TrainConfig(batch_size=BATCH, class_conditional=True, num_timesteps=20)
    draws = BatchSource(config=config, data=data(free, device), num_classes=4, image_shape=SHAPE, device=device)
    return Blocks(draws, BATCH, steps_per_block(config, SHAPE, device))


@pytest.mark.parametrize("free", ROOMS.values(), ids=ROOMS)
def test_a_batch_is_on_the_device_and_nothing_waits(free: int) -> None:
    # The data set moves before the first step. The batches are drawn in this thread, since another is not watched.
    draw = source(free)
    with stand_in(with_host=True) as watch, Batches(draw, STEPS) as batches:
        for images_seen in STEPS:
            batch = batches.take(images_seen)
            assert {part.device for part in (batch.images, batch.labels, *batch.noise)} == {DEVICE}
            assert (len(batch.images), batch.images.dtype) == (BATCH, torch.uint8)
    assert not watch.reads


@pytest.mark.parametrize(("room", "place"), [("too little", "cpu"), ("enough", "meta")])
def test_images_are_on_the_device_if_they_take_a_quarter_of_its_memory_at_most(room: str, place: str) -> None:
    give = data(ROOMS[room])
    with stand_in(with_host=True):
        images, labels = give(torch.arange(3))
    assert (images.device.type, labels.device.type) == (place, "cpu")


@pytest.mark.parametrize("free", ROOMS.values(), ids=ROOMS)
def test_the_images_of_a_batch_do_not_depend_on_their_place(free: int) -> None:
    """The host as the device: the copy is one from there to there."""
    usual, here = source(0, torch.device("cpu"))(BATCH), source(free, torch.device("cpu"))(BATCH)
    assert torch.equal(here.images, usual.images)
    assert len({image.numpy().tobytes() for image in here.images}) == BATCH, "images that differ"


def test_a_device_without_memory_of_its_own_holds_no_images() -> None:
    reader = SimpleNamespace(units=lambda _: [{"rows": COUNT}], load=lambda _: (PIXELS, LABELS))
    images, _ = training_data(reader, 0, 0, DEVICE)(torch.arange(3))
    assert images.device.type == "cpu"


WAITING: dict[str, Callable[[torch.Tensor, torch.device], torch.Tensor]] = {
    "not pinned": lambda tensor, device: tensor.to(device, non_blocking=True),
    "waits": lambda tensor, device: tensor.to(device),
}


@pytest.mark.parametrize("free", ROOMS.values(), ids=ROOMS)
@pytest.mark.parametrize("reason", WAITING)
def test_a_copy_that_waits_is_found(free: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = source(free)
    for module in ("batches", "data"):
        monkeypatch.setattr(f"flows.stages.train.{module}.to_device", WAITING[reason])
    with stand_in(with_host=True), pytest.raises(RefusedError, match=rf"flows/stages/train/\w+.py:\d+ .*{reason}"):
        draw(0)


def test_noise_does_not_cross_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as large as four batches of images: numbers of slots cross instead, and noise is drawn from them there."""
    crossed: list[int] = []

    def counting(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        crossed.append(tensor.nbytes)
        return to_device(tensor, device)

    draw = source(ROOMS["too little"])
    monkeypatch.setattr("flows.stages.train.batches.to_device", counting)
    with stand_in(with_host=True):
        batch = draw(0)
    assert batch.labels is not None
    assert sum(crossed) == batch.images.nbytes + batch.labels.nbytes + 8 * BATCH
    assert batch.noise.eps.nbytes == 4 * batch.images.nbytes
