"""The rows of a training run's history: loss, rate, memory, and the shares of time that other work than steps takes."""

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ddpm_core.train_step import StepResult
from infra.digests import canonical_json
from infra.outputs.plan import Output

HISTORY = "history"
_QUARTERS = 4

# Takes a line for the user.
Say = Callable[[str], None]
# Commits bytes under a name unless the name is taken.
Put = Callable[[str, bytes], object]


def _ignore(_: str) -> None:
    pass


def history_rows(output: Output, say: Say = _ignore) -> list[dict[str, Any]]:
    """Return all rows of the loss curve, sorted by images seen; `say` takes a line about each damaged file."""
    reader = HistoryReader(output, say)
    reader.read_new()
    return reader.rows()


class HistoryReader:
    """Reads the rows of the loss curve, each once, as they are committed.

    Args:
        output: The output that holds them.
        say: Takes a line about each file that is damaged; its rows are left out, because no weights depend on them.
    """

    def __init__(self, output: Output, say: Say = _ignore) -> None:
        self._output, self._say = output, say
        self._files: dict[str, list[dict[str, Any]]] = {}

    def read_new(self) -> list[list[dict[str, Any]]]:
        """Read and return the rows that were committed since the last call, file by file."""
        store = self._output.store
        names = [name for name in store.list(f"{self._output.folder}/{HISTORY}") if name not in self._files]
        new: list[list[dict[str, Any]]] = []
        for name in names:
            rows = _parse(store.read(name))
            if rows is None:
                self._say(f"{name} is damaged: the curves go on without its rows")
            self._files[name] = rows or []
            if rows:
                new.append(rows)
        return new

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows read so far, sorted by images seen."""
        rows = [row for file in self._files.values() for row in file]
        return sorted(rows, key=lambda row: int(row["images_seen"]))


def _parse(data: bytes) -> list[dict[str, Any]] | None:
    """Return the rows of a file; None if it does not hold rows."""
    try:
        rows = json.loads(data)
    except ValueError:
        return None
    if not isinstance(rows, list):
        return None
    are_rows = all(isinstance(row, dict) and isinstance(row.get("images_seen"), int) for row in rows)
    return rows if are_rows else None


class Purpose(Enum):
    """A use of the training thread's time that is measured on its own."""

    DATA = "waiting for data"
    CHECKPOINT = "copying, and waiting to save"
    WATCH = "watching"
    ROW = "writing a row"


class TrainingTime:
    """Measures where the time of one attempt goes.

    Args:
        clock: Returns seconds from any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._spent = dict.fromkeys(Purpose, 0.0)
        self._paused_at: float | None = None

    def total(self) -> float:
        """Return all seconds since the start."""
        return self._clock() - self._began

    def seconds(self) -> float:
        """Return the seconds of training since the start: steps and waiting for data, and nothing else."""
        paused_at = self._paused_at
        paused_s = sum(seconds for purpose, seconds in self._spent.items() if purpose != Purpose.DATA)
        return (self._clock() if paused_at is None else paused_at) - self._began - paused_s

    def spent(self, purpose: Purpose) -> float:
        """Return the seconds that a purpose has taken, without a block that still lasts."""
        return self._spent[purpose]

    @contextmanager
    def on(self, purpose: Purpose) -> Iterator[None]:
        """Count the time of the block for a purpose; blocks do not nest."""
        began = self._clock()
        if purpose != Purpose.DATA:
            self._paused_at = began
        try:
            yield
        finally:
            self._spent[purpose] += self._clock() - began
            self._paused_at = None


def loss_by_quarter(losses: Tensor, t: Tensor, num_timesteps: int) -> Tensor:
    """Return the sums of the losses and the numbers of images, float32 [2, 4], by quarter of the timesteps.

    The first quarter holds the smallest t: quarter q holds t with q <= 4 t / num_timesteps < q + 1. A loss that is not
    finite stays in its own quarter. It waits for no device.
    """
    quarters = torch.arange(_QUARTERS, device=t.device)
    mask = (t * _QUARTERS // num_timesteps)[:, None] == quarters
    return torch.stack((torch.where(mask, losses.float()[:, None], 0.0).sum(0), mask.sum(0).float()))


@dataclass
class HistoryWindow:
    """The steps since the last row; sums and counts stay on the device, the sums are over this worker's images."""

    loss_sum: Tensor
    quarters: Tensor
    skipped: Tensor
    began_s: float
    training_began_s: float
    spent_s: dict[Purpose, float]
    images: int = 0


class History:
    """Writes the rows of one attempt and measures its rate.

    Args:
        output: The output to commit rows to.
        device: The device that losses are summed on.
        num_timesteps: T, for the quarters of the loss.
        clock: Returns seconds from any origin.
        put: Commits a row's bytes; by default this waits for the store.
    """

    def __init__(
        self,
        output: Output,
        device: torch.device,
        num_timesteps: int,
        clock: Callable[[], float] = time.monotonic,
        put: Put | None = None,
    ) -> None:
        self._output, self._device, self._num_timesteps = output, device, num_timesteps
        self._put: Put = put or output.store.put_if_absent
        self._world_size = dist.get_world_size() if dist.is_initialized() else 1
        self._rank = dist.get_rank() if dist.is_initialized() else 0
        self.time = TrainingTime(clock)
        self._images = 0
        self._last_row: tuple[float, int] = (0.0, 0)
        self._last_shares: dict[str, float] = {}
        self._window = self._new_window()

    def add(self, result: StepResult, t: Tensor, images: int) -> None:
        """Count one step of `images` images over all workers, at this worker's timesteps t."""
        self._images += images
        self._window.loss_sum += result.loss_sum
        self._window.quarters += loss_by_quarter(result.losses, t, self._num_timesteps)
        self._window.images += images
        self._window.skipped += result.applied.logical_not()

    def loss(self) -> float | None:
        """The mean loss since the row before the last; of steps since the last row, only this rank's share counts."""
        loss_sum, images = self._last_row
        window = self._window
        loss_sum, images = loss_sum + float(window.loss_sum) * self._world_size, images + window.images
        return loss_sum / images if images else None

    def images_per_second(self) -> float | None:
        """This attempt's rate, without the time that checkpoints, watching and rows take."""
        seconds = self.time.seconds()
        return self._images / seconds if self._images and seconds > 0 else None

    def shares(self) -> dict[str, float]:
        """The shares of time of the last row, by column; empty before the first row."""
        return self._last_shares

    def commit(
        self, images_seen: int, learning_rate: float, grad_norm: Tensor, loss_scale: Tensor | None = None
    ) -> None:
        """Sum the window over all ranks, commit its row on rank 0, and begin the next window.

        Args:
            images_seen: After the last step.
            learning_rate: Of the last step.
            grad_norm: Of the last step.
            loss_scale: The loss's scale in the next step; None if training has none.
        """
        window = self._window
        # A copy, because `loss` may read the window's own sum in another thread.
        sums = torch.cat((window.loss_sum[None], window.quarters.flatten()))
        if self._world_size > 1:
            dist.all_reduce(sums)
        with self.time.on(Purpose.ROW):
            loss_sum, *quarters = sums.tolist()
            self._last_shares = self._shares()
            row = {
                "images_seen": images_seen,
                "loss": loss_sum / window.images,
                **_quarter_columns(quarters),
                "grad_norm": float(grad_norm),
                "learning_rate": learning_rate,
                "images_per_second": window.images / max(self.time.seconds() - window.training_began_s, 1e-9),
                "skipped_steps": int(window.skipped),
                **({} if loss_scale is None else {"loss_scale": float(loss_scale)}),
                **self._last_shares,
                "peak_memory_bytes": _peak_memory_bytes(self._device),
                "time_ms": int(time.time() * 1000),
            }
            if self._rank == 0:
                finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
                self._put(f"{self._output.folder}/{HISTORY}/{images_seen:012d}.json", canonical_json([finite]))
        self._last_row = (loss_sum, window.images)
        self._window = self._new_window()

    def _shares(self) -> dict[str, float]:
        seconds = max(self.time.total() - self._window.began_s, 1e-9)
        columns = {"data_share": Purpose.DATA, "checkpoint_share": Purpose.CHECKPOINT, "watch_share": Purpose.WATCH}
        return {
            column: (self.time.spent(purpose) - self._window.spent_s[purpose]) / seconds
            for column, purpose in columns.items()
        }

    def _new_window(self) -> HistoryWindow:
        return HistoryWindow(
            loss_sum=torch.zeros((), device=self._device),
            quarters=torch.zeros(2, _QUARTERS, device=self._device),
            skipped=torch.zeros((), dtype=torch.int64, device=self._device),
            began_s=self.time.total(),
            training_began_s=self.time.seconds(),
            spent_s={purpose: self.time.spent(purpose) for purpose in Purpose},
        )


def _quarter_columns(quarters: list[float]) -> dict[str, float]:
    """Return the mean loss of each quarter; it is no number if no image fell into the quarter."""
    sums, counts = quarters[:_QUARTERS], quarters[_QUARTERS:]
    return {
        f"loss_quarter_{number}": total / count if count else math.nan
        for number, (total, count) in enumerate(zip(sums, counts, strict=True), start=1)
    }


def _peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory so far: of the device's tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kibibytes
