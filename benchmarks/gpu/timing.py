"""Times of calls: CUDA events on a GPU, the host's clock on a processor."""

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.gpu.setting import Setting


@dataclass(frozen=True)
class Times:
    """Milliseconds of the repeats of one call."""

    each_ms: tuple[float, ...]

    @property
    def ms(self) -> float:
        """The median."""
        return statistics.median(self.each_ms)

    @property
    def quartiles_ms(self) -> list[float]:
        """The lower and the upper one."""
        low, _, high = statistics.quantiles(self.each_ms, method="inclusive")
        return [low, high]

    def row(self) -> dict[str, object]:
        """The columns of a table: median, quartiles and their number."""
        return {"ms": self.ms, "quartiles_ms": self.quartiles_ms, "repeats": len(self.each_ms)}


def timed(
    setting: Setting,
    call: Callable[[], object],
    *,
    fewest: int = 10,
    most: int = 40,
    target_s: float = 1.5,
    warmup: int = 2,
) -> Times:
    """Repeat a call after warm-up for about `target_s`.

    Args:
        setting: Names the device.
        call: Queues the work; its inputs are there before.
        fewest: Repeats at least, 2 or more.
        most: Repeats at most.
        target_s: The time to spend on the repeats if there are between the fewest and the most.
        warmup: Calls before; compiling and the choice of kernels belong there.
    """
    if setting.toy:
        fewest, most, warmup = 2, 2, 1
    for _ in range(warmup):
        call()
    _wait(setting)
    started = time.perf_counter()
    call()
    _wait(setting)
    once_s = max(time.perf_counter() - started, 1e-6)
    repeats = max(fewest, min(most, int(target_s / once_s)))
    return Times(tuple(_on_gpu(call, repeats) if setting.cuda else _on_host(call, repeats)))


def _on_gpu(call: Callable[[], object], repeats: int) -> list[float]:
    # One after the other without waiting, as in a loop of training: a gap shows only if the host is the slower one.
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in itertools.pairwise(marks)]


def _on_host(call: Callable[[], object], repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def _wait(setting: Setting) -> None:
    if setting.cuda:
        torch.cuda.synchronize()


def seconds_once(setting: Setting, call: Callable[[], object]) -> float:
    """The host's seconds of a single call, the device's queue empty before and after."""
    _wait(setting)
    started = time.perf_counter()
    call()
    _wait(setting)
    return time.perf_counter() - started


def peak_gib(setting: Setting, call: Callable[[], object]) -> float | None:
    """The device's most allocated memory during a call; None on a processor."""
    if not setting.cuda:
        call()
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30
