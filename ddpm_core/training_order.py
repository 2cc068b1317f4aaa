"""The randomness of training: which image each slot of the run shows, with which timestep, noise and coins."""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from ddpm_core.rng import Stream, integers, normal, permutation, uniform, words


class TrainingNoise(NamedTuple):
    """The random numbers of some slots of the training order; slot k is the k-th image seen."""

    t: Int64[Tensor, " b"]
    eps: Float32[Tensor, "b c h w"]
    flip: Int64[Tensor, " b"]


def training_noise(
    seed: int, slots: Int64[Tensor, " b"], num_timesteps: int, image_shape: tuple[int, int, int]
) -> TrainingNoise:
    """Draw t uniform on 0..T-1, eps standard normal and a coin flip (0 or 1) for each slot.

    Args:
        seed: The run's seed.
        slots: Positions in the training order, 0..2^48-1: images seen before each.
        num_timesteps: T.
        image_shape: (channels, height, width).
    """
    return TrainingNoise(
        t=integers(seed, Stream.TRAINING_T, slots, num_timesteps),
        eps=normal(seed, Stream.TRAINING_EPS, slots, image_shape),
        flip=words(seed, Stream.FLIP, slots, 1)[:, 0] & 1,
    )


class TrainingOrder:
    """The image of each slot: epoch e = slot // size visits every image once, in an order of its own.

    A pure function of (seed, slot), so that any worker can start anywhere; the permutations of the last epochs asked
    for are kept.
    """

    def __init__(self, seed: int, dataset_size: int) -> None:
        if dataset_size < 1:
            raise ValueError(f"dataset_size must be at least 1; got {dataset_size}")
        self._seed = seed
        self._size = dataset_size
        self._orders: dict[int, Int64[Tensor, " n"]] = {}

    def __call__(self, slots: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the image number, 0..size-1, of each slot."""
        epochs, places = slots // self._size, slots % self._size
        needed = epochs.unique().tolist()
        self._orders = {
            epoch: self._orders[epoch] if epoch in self._orders else permutation(self._seed, self._size, epoch)
            for epoch in needed
        }
        images = torch.empty_like(slots)
        for epoch in needed:
            here = epochs == epoch
            images[here] = self._orders[epoch][places[here]]
        return images


def drop_labels(
    seed: int, slots: Int64[Tensor, " b"], labels: Int64[Tensor, " b"], no_label: int, probability: float
) -> Int64[Tensor, " b"]:
    """Replace some slots' labels by `no_label`, so that one network learns both (Ho and Salimans 2022, algorithm 1).

    Args:
        seed: The run's seed.
        slots: Positions in the training order.
        labels: Their images' classes.
        no_label: The class that stands for none.
        probability: Of replacing a label, in [0, 1].
    """
    dropped = uniform(seed, Stream.LABEL_DROPOUT, slots, ()) <= probability
    return torch.where(dropped, no_label, labels)
