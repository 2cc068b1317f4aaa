"""The loss curve of a training run, and the speed of this attempt."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ddpm_core.train_step import StepResult
from infra.digests import canonical_json
from infra.outputs.plan import Output

HISTORY = "history"


def history_rows(output: Output) -> list[dict[str, Any]]:
    """Return all rows of the loss curve, sorted by images seen."""
    names = output.store.list(f"{output.folder}/{HISTORY}")
    rows = [row for name in names for row in json.loads(output.store.read(name))]
    return sorted(rows, key=lambda row: int(row["images_seen"]))


class TrainingTime:
    """Measures the seconds spent on training itself.

    Args:
        clock: Returns seconds from any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._paused_s = 0.0
        self._pause_began: float | None = None

    def seconds(self) -> float:
        """Return the seconds since the start, without those inside `paused`."""
        pause_began = self._pause_began
        return (self._clock() if pause_began is None else pause_began) - self._began - self._paused_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block."""
        self._pause_began = began = self._clock()
        try:
            yield
        finally:
            self._paused_s += self._clock() - began
            self._pause_began = None


@dataclass
class HistoryWindow:
    """The steps since the last row of the loss curve."""

    loss_sum: Tensor
    started_s: float
    images: int = 0
    skipped: int = 0


class History:
    """Writes the rows of one attempt and measures its rate.

    Args:
        output: The output to commit rows to.
        device: The device that losses are summed on.
        clock: Returns seconds from any origin.
    """

    def __init__(self, output: Output, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._output, self._device = output, device
        self._world_size = dist.get_world_size() if dist.is_initialized() else 1
        self._rank = dist.get_rank() if dist.is_initialized() else 0
        self.time = TrainingTime(clock)
        self._images = 0
        self._last_row: tuple[float, int] = (0.0, 0)
        self._window = self._new_window()

    def add(self, result: StepResult, images: int) -> None:
        """Count one step."""
        self._images += images
        self._window.loss_sum += result.loss_sum
        self._window.images += images
        self._window.skipped += not result.applied

    def loss(self) -> float | None:
        """The mean loss since the row before the last; of steps since the last row, only this rank's share counts."""
        loss_sum, images = self._last_row
        window = self._window
        loss_sum, images = loss_sum + float(window.loss_sum) * self._world_size, images + window.images
        return loss_sum / images if images else None

    def images_per_second(self) -> float | None:
        """This attempt's rate, without the time that checkpoints and rows take."""
        seconds = self.time.seconds()
        return self._images / seconds if self._images and seconds > 0 else None

    def commit(self, images_seen: int, learning_rate: float, grad_norm: Tensor) -> None:
        """Sum the window over all ranks, commit its row on rank 0, and begin the next window."""
        window = self._window
        # A copy, because `loss` may read the window's own sum in another thread.
        loss_sum = window.loss_sum.clone()
        if self._world_size > 1:
            dist.all_reduce(loss_sum)
        row = {
            "images_seen": images_seen,
            "loss": float(loss_sum) / window.images,
            "grad_norm": float(grad_norm),
            "learning_rate": learning_rate,
            "images_per_second": window.images / max(self.time.seconds() - window.started_s, 1e-9),
            "skipped_steps": window.skipped,
            "time_ms": int(time.time() * 1000),
        }
        if self._rank == 0:
            with self.time.paused():
                finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
                name = f"{self._output.folder}/{HISTORY}/{images_seen:012d}.json"
                self._output.store.put_if_absent(name, canonical_json([finite]))
        self._last_row = (float(loss_sum), window.images)
        self._window = self._new_window()

    def _new_window(self) -> HistoryWindow:
        loss_sum = torch.zeros((), device=self._device)
        return HistoryWindow(loss_sum=loss_sum, started_s=self.time.seconds())
