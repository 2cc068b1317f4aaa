"""The batches of a training run: this worker's images, labels and noise of each step, computed from the images seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_core.training_order import TrainingNoise, drop_labels, training_noise
from flows.stages.train.config import TrainConfig
from flows.stages.train.data import TrainingData


class Batch(NamedTuple):
    """This worker's share of one step.

    Attributes:
        images: uint8 [b, c, h, w], on the training device.
        labels: int64 [b] after label dropout, or None if the network is unconditional.
        noise: Timesteps, noise and coin flips.
    """

    images: Tensor
    labels: Tensor | None
    noise: TrainingNoise


# Returns the batch of the step that starts at a number of images seen.
Draw = Callable[[int], Batch]


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """Draws batches; a batch is a function of the settings and the images seen.

    Attributes:
        config: The stage's settings.
        data: Gives each slot its image and label.
        num_classes: Classes of the network, with the one for no label; 0 if it is unconditional.
        image_shape: (channels, height, width).
        device: The device to train on.
        rank: This worker's place in its group.
        world_size: Workers in the group.
    """

    config: TrainConfig
    data: TrainingData
    num_classes: int
    image_shape: tuple[int, int, int]
    device: torch.device
    rank: int = 0
    world_size: int = 1

    def __call__(self, images_seen: int) -> Batch:
        """Draw the batch of the step that starts at `images_seen`."""
        config = self.config
        slots = torch.arange(images_seen + self.rank, images_seen + config.batch_size, self.world_size)
        images, classes = self.data(slots)
        labels = self._labels(slots, classes)
        slots = slots.to(self.device, non_blocking=True)
        noise = training_noise(config.seed, slots, config.num_timesteps, self.image_shape)
        return Batch(images.to(self.device, non_blocking=True), labels, noise)

    def _labels(self, slots: Tensor, classes: Tensor) -> Tensor | None:
        """Labels for these slots after label dropout, or None if the network is unconditional."""
        if not self.num_classes:
            return None
        labels = drop_labels(self.config.seed, slots, classes, self.num_classes - 1, self.config.label_dropout)
        return labels.to(self.device, non_blocking=True)
