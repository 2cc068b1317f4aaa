"""Two functions timed in turns, so that a machine whose speed moves treats both alike."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Turns(NamedTuple):
    """Median seconds of both, and the quartiles and median of the second over the first, neighbour by neighbour."""

    first_s: float
    second_s: float
    low: float
    ratio: float
    high: float


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's queue emptied before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(first: Callable[[], object], second: Callable[[], object], device: torch.device, repeats: int) -> Turns:
    """Call the two in turn, `repeats` times (at least 2) after one call of each as warm-up."""
    pairs = []
    for turn in range(repeats + 1):
        pair = seconds(first, device), seconds(second, device)
        if turn:
            pairs.append(pair)
    low, ratio, high = statistics.quantiles([b / a for a, b in pairs], method="inclusive")
    return Turns(statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), low, ratio, high)
