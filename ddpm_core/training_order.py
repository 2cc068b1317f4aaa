"""The randomness of training: the image of each slot of the run, its timestep, noise and coin flips."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

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
        slots: Positions in the training order, 0..2^48-1: the number of images seen before.
        num_timesteps: T.
        image_shape: (channels, height, width).
    """
    return TrainingNoise(
        t=integers(seed, Stream.TRAINING_T, slots, num_timesteps),
        eps=normal(seed, Stream.TRAINING_EPS, slots, image_shape),
        flip=words(seed, Stream.FLIP, slots, 1)[:, 0] & 1,
    )


class Order(Protocol):
    """A function that gives the image of each slot."""

    def __call__(self, slots: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the image number of each slot."""


class TrainingOrder:
    """The image of each slot: epoch e = slot // size visits every image once, in its own order.

    A pure function of (seed, slot), so that any worker can start anywhere. The permutations of the last call's epochs
    are cached.
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
            of_epoch = epochs == epoch
            images[of_epoch] = self._orders[epoch][places[of_epoch]]
        return images


class TwoLevelOrder:
    """The image of each slot, for data sets larger than memory: random blocks, then random images within a window.

    An epoch visits every image once. It orders the blocks (files) at random and cuts that order into windows, each of
    the fewest blocks that hold at least `window` images; within a window the images are ordered at random. A worker
    therefore needs one window in memory, or two if a batch spans them. Like `TrainingOrder` it is a pure function of
    (seed, slot): the same for every number of workers, and it starts anywhere at the same cost.

    Args:
        seed: The run's seed.
        block_sizes: Images in each block, at least 1; image numbers run on from block to block.
        window: Images to mix at a time, at least 1.
    """

    def __init__(self, seed: int, block_sizes: Sequence[int], window: int) -> None:
        if not block_sizes or min(block_sizes) < 1:
            raise ValueError(f"block_sizes must be at least one number, each at least 1; got {list(block_sizes)[:5]}")
        if window < 1:
            raise ValueError(f"window must be at least 1; got {window}")
        self._seed, self._window = seed, window
        self._sizes = torch.tensor(block_sizes)
        self._firsts = torch.cumsum(self._sizes, 0) - self._sizes
        self._size = int(self._sizes.sum())
        self._epochs: dict[int, tuple[Tensor, list[tuple[int, int]], Tensor]] = {}
        self._windows: dict[tuple[int, int], Int64[Tensor, " n"]] = {}

    def __call__(self, slots: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the image number, 0..size-1, of each slot."""
        epochs, places = slots // self._size, slots % self._size
        self._epochs = {e: self._epochs.get(e) or self._cut(e) for e in epochs.unique().tolist()}
        images = torch.empty_like(slots)
        windows: dict[tuple[int, int], Int64[Tensor, " n"]] = {}
        for epoch, (_, _, starts) in self._epochs.items():
            of_epoch = torch.nonzero(epochs == epoch)[:, 0]
            number = torch.searchsorted(starts, places[of_epoch], right=True) - 1
            for window in number.unique().tolist():
                key = (epoch, window)
                windows[key] = self._windows[key] if key in self._windows else self._mix(epoch, window)
                chosen = of_epoch[number == window]
                images[chosen] = windows[key][places[chosen] - starts[window]]
        self._windows = windows
        return images

    def _cut(self, epoch: int) -> tuple[Tensor, list[tuple[int, int]], Tensor]:
        """An epoch's blocks in order, its windows as ranges of blocks, and the image at which each window starts."""
        order = permutation(self._seed, len(self._sizes), epoch, stream=Stream.BLOCK_ORDER)
        ranges, starts = [], []
        first = start = place = 0
        for number, size in enumerate(self._sizes[order].tolist()):
            place += size
            if place - start >= self._window or number == len(order) - 1:
                ranges.append((first, number + 1))
                starts.append(start)
                first, start = number + 1, place
        return order, ranges, torch.tensor(starts)

    def _mix(self, epoch: int, window: int) -> Int64[Tensor, " n"]:
        """The image numbers of one window in their order."""
        order, ranges, starts = self._epochs[epoch]
        blocks = order[slice(*ranges[window])]
        firsts, sizes = self._firsts[blocks], self._sizes[blocks]
        images = torch.cat([torch.arange(f, f + n) for f, n in zip(firsts.tolist(), sizes.tolist(), strict=True)])
        start = int(starts[window])
        return images[permutation(self._seed, len(images), epoch, stream=Stream.WINDOW_ORDER, start=start)]


def drop_labels(
    seed: int, slots: Int64[Tensor, " b"], labels: Int64[Tensor, " b"], no_label: int, probability: float
) -> Int64[Tensor, " b"]:
    """Replace some slots' labels by `no_label`, to train with and without labels (Ho and Salimans 2022, algorithm 1).

    Args:
        seed: The run's seed.
        slots: Positions in the training order.
        labels: Their images' classes.
        no_label: The class that stands for no label.
        probability: Probability of replacing a label, in [0, 1].
    """
    dropped = uniform(seed, Stream.LABEL_DROPOUT, slots, ()) <= probability
    return torch.where(dropped, no_label, labels)
