"""Batches of several steps drawn at once are those drawn step by step, wherever a run goes on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flows.recipe.settings import load_config
from flows.stages.train.batches import Batch, BatchSource
from flows.stages.train.blocks import Blocks, steps_per_block

SHAPE, CLASSES, CPU = (1, 8, 8), 4, torch.device("cpu")


def images_of(slots: Tensor) -> tuple[Tensor, Tensor]:
    """An image and a label that say their slot."""
    images = (slots % 251).to(torch.uint8)[:, None, None, None].expand(-1, *SHAPE)
    return images, slots % (CLASSES - 1)


def source(rank: int = 0, world_size: int = 1, **settings: Any) -> BatchSource:
    config = load_config("digits", None, []).train.model_copy(update={"batch_size": 10, **settings})
    return BatchSource(
        config=config,
        data=images_of,
        num_classes=CLASSES,
        image_shape=SHAPE,
        device=CPU,
        rank=rank,
        world_size=world_size,
    )


def equal(one: Batch, other: Batch) -> bool:
    pairs = zip((one.images, one.labels, *one.noise), (other.images, other.labels, *other.noise), strict=True)
    return all(torch.equal(a, b) for a, b in pairs if a is not None and b is not None)


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 3), (2, 3)])
def test_a_block_holds_the_batches_of_its_steps(rank: int, world_size: int) -> None:
    """Ten images shared out by three workers are 4, 3 and 3."""
    draws = source(rank, world_size)
    blocks = Blocks(draws, 10, 4)
    for images_seen in (0, 10, 20, 30, 40, 70, 80, 20):
        (alone,) = draws.consecutive(images_seen, 1)
        assert len(alone.images) == len(range(rank, 10, world_size))
        assert equal(blocks(images_seen), alone)


def test_several_steps_are_one_draw() -> None:
    calls: list[tuple[int, int]] = []

    class Counted:
        def consecutive(self, images_seen: int, count: int) -> list[Batch]:
            calls.append((images_seen, count))
            return source().consecutive(images_seen, count)

    blocks = Blocks(Counted(), 10, 4)
    for images_seen in range(20, 110, 10):
        blocks(images_seen)
    assert calls == [(20, 4), (60, 4), (100, 4)]


def test_only_small_steps_on_a_processor_from_memory_are_drawn_together() -> None:
    config = source(batch_size=128).config
    assert steps_per_block(config, (1, 8, 8), CPU) == 16
    assert steps_per_block(config, (1, 28, 28), CPU) == 2
    assert steps_per_block(config, (3, 256, 256), CPU) == 1
    assert steps_per_block(config, (1, 8, 8), torch.device("cuda", 0)) == 1
    assert steps_per_block(config.model_copy(update={"shuffle_images": 256}), (1, 8, 8), CPU) == 1
