"""Batches of consecutive small steps, drawn together: a draw calls torch some hundred times, however few its images."""

from collections import deque
from typing import Protocol

import torch

from flows.stages.train.batches import Batch
from flows.stages.train.config import TrainConfig

_LARGEST_BLOCK = 16
# Values of noise in a block; above, the calls are few beside the arithmetic.
_VALUES = 1 << 18


class Steps(Protocol):
    """Draws the batches of consecutive steps."""

    def consecutive(self, images_seen: int, count: int) -> list[Batch]:
        """Draw the batches of `count` steps, the first of which starts at `images_seen`."""


class Blocks:
    """Gives one batch after the other, and draws several at once.

    Args:
        source: Draws them; a batch must not depend on the others of its block.
        batch_size: Images per step, over all workers.
        steps: Steps per block, at least 1.
    """

    def __init__(self, source: Steps, batch_size: int, steps: int) -> None:
        self._source, self._batch_size, self._steps = source, batch_size, steps
        self._drawn: deque[tuple[int, Batch]] = deque()

    def __call__(self, images_seen: int) -> Batch:
        """Return the batch of the step that starts at `images_seen`."""
        if not self._drawn or self._drawn[0][0] != images_seen:
            batches = self._source.consecutive(images_seen, self._steps)
            places = range(images_seen, images_seen + self._steps * self._batch_size, self._batch_size)
            self._drawn = deque(zip(places, batches, strict=True))
        return self._drawn.popleft()[1]


def steps_per_block(config: TrainConfig, image_shape: tuple[int, int, int], device: torch.device) -> int:
    """Return the steps to draw together: several if they are small, on a CPU and from images in memory.

    On a GPU a thread draws beside the steps. A window of images is to be left behind before the next one is read.

    Args:
        config: The stage's settings.
        image_shape: (channels, height, width).
        device: The training device.
    """
    if device.type != "cpu" or config.shuffle_images:
        return 1
    channels, height, width = image_shape
    return min(max(_VALUES // (config.batch_size * channels * height * width), 1), _LARGEST_BLOCK)
