"""The batches of a training run: this worker's images, labels and noise of each step, computed from the images seen."""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_core.training_order import TrainingNoise, drop_labels, training_noise
from flows.stages.train.config import TrainConfig
from flows.stages.train.data import TrainingData
from flows.stages.train.retries import LOOK_S, Retries
from infra.compute.cores import usable_cores
from infra.compute.transfer import to_device


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


_AHEAD = 2

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

    def consecutive(self, images_seen: int, count: int) -> list[Batch]:
        """Draw the batches of `count` steps, the first of which starts at `images_seen`."""
        firsts = range(images_seen, images_seen + count * self.config.batch_size, self.config.batch_size)
        slots = [torch.arange(first + self.rank, first + self.config.batch_size, self.world_size) for first in firsts]
        together, size = self._of(torch.cat(slots)), len(slots[0])
        return [_part(together, slice(first, first + size)) for first in range(0, count * size, size)]

    def _of(self, slots: Tensor) -> Batch:
        config = self.config
        images, classes = self.data(slots)
        labels = self._labels(slots, classes)
        there = to_device(slots, self.device)
        noise = training_noise(config.seed, there, config.num_timesteps, self.image_shape)
        return Batch(to_device(images, self.device), labels, noise)

    def _labels(self, slots: Tensor, classes: Tensor) -> Tensor | None:
        """Labels for these slots after label dropout, or None if the network is unconditional."""
        if not self.num_classes:
            return None
        labels = drop_labels(self.config.seed, slots, classes, self.num_classes - 1, self.config.label_dropout)
        return to_device(labels, self.device)


def _part(batch: Batch, rows: slice) -> Batch:
    labels = None if batch.labels is None else batch.labels[rows]
    return Batch(batch.images[rows], labels, TrainingNoise(*(values[rows] for values in batch.noise)))


def batches_ahead(device: torch.device, threads: int) -> int:
    """Return how many batches to draw ahead: two, or none if the steps already keep every core busy.

    On a CPU the thread that draws computes with as many threads as the steps, which wait for each other several hundred
    times per step; with more threads than cores OpenMP lets them sleep at every wait.
    """
    workers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return _AHEAD if device.type == "cuda" or usable_cores() >= 2 * threads * workers else 0


class Batches:
    """Gives the batches of consecutive steps, some of them drawn ahead in a thread.

    Args:
        draw: Draws a batch; called in order, and in one thread only; the same again after an error of the store.
        steps: The images seen before each step.
        ahead: Batches to hold at most; 0 draws each when it is taken.
        device: The training device.
        retries: Bridges an outage of the store.
    """

    def __init__(
        self,
        draw: Draw,
        steps: range,
        ahead: int = 0,
        device: torch.device | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._draw, self._steps, self._ahead = draw, steps, ahead
        self._retries = retries or Retries("the data")
        self._device = device if device is not None and device.type == "cuda" else None
        self._drawn: deque[_Drawn] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def __enter__(self) -> "Batches":
        if self._ahead:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """End the thread, whose batch in hand is the last; one that the store keeps waiting is left to itself."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._ahead:
            self._thread.join(LOOK_S if self._retries.trouble else None)

    def take(self, images_seen: int, until: Callable[[], bool] = lambda: False) -> Batch | None:
        """Return the batch of the step that starts at `images_seen`; None if `until` is true while the store is away.

        Raises:
            StorageError: The store has been away for ten minutes.
            BaseException: Any other error of `draw`.
        """
        if not self._ahead:
            return self._retries(partial(self._draw, images_seen), until)
        with self._changed:
            while not self._drawn and self._error is None:
                if self._retries.trouble and until():
                    return None
                self._changed.wait(LOOK_S)
            if not self._drawn:
                assert self._error is not None, "a thread without a further batch leaves an error"
                raise self._error
            drawn = self._drawn.popleft()
            self._changed.notify_all()
        assert drawn.images_seen == images_seen, f"the next batch is that at {drawn.images_seen}, not {images_seen}"
        return drawn.ready()

    def _run(self) -> None:
        end: BaseException = AssertionError("every batch was taken")
        try:
            if self._device is None:
                self._fill()
            else:
                # A stream of its own, so that copies and draws run beside the steps.
                with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.Stream(self._device)):
                    self._fill()
        except BaseException as error:
            end = error
        with self._changed:
            self._error = end
            self._changed.notify_all()

    def _fill(self) -> None:
        for images_seen in self._steps:
            with self._changed:
                while len(self._drawn) >= self._ahead and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
            batch = self._retries(partial(self._draw, images_seen), lambda: self._ended)
            if batch is None:
                return
            drawn = torch.cuda.current_stream().record_event() if self._device is not None else None
            with self._changed:
                self._drawn.append(_Drawn(images_seen, batch, drawn))
                self._changed.notify_all()


class _Drawn(NamedTuple):
    """A batch that was drawn ahead; on a GPU the event says when the device has drawn it."""

    images_seen: int
    batch: Batch
    event: torch.cuda.Event | None

    def ready(self) -> Batch:
        """Return the batch for use on this thread's stream."""
        if self.event is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.event)
            for tensor in (self.batch.images, self.batch.labels, *self.batch.noise):
                if tensor is not None:
                    tensor.record_stream(stream)  # its memory serves another batch only after the step
        return self.batch
