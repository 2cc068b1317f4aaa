"""The time for which work holds CPUs and GPUs, whether it keeps them busy or not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.compute.units import Workers


@dataclass(kw_only=True)
class Occupancy:
    """Counts the time of pools and groups of workers.

    Attributes:
        retries: The number of units that were begun again, and of groups that were started again, after a loss.
        clock: Returns seconds from any origin.
    """

    retries: int = 0
    clock: Callable[[], float] = time.monotonic
    _cpu_s: float = field(default=0.0, init=False)
    _gpu_s: float = field(default=0.0, init=False)
    _held: dict[int, tuple[float, Workers]] = field(default_factory=dict, init=False)

    @contextmanager
    def of(self, workers: Workers) -> Iterator[None]:
        """Count the time of the block for these workers."""
        number = max(self._held, default=0) + 1
        self._held[number] = (self.clock(), workers)
        try:
            yield
        finally:
            began_s, _ = self._held.pop(number)
            seconds = self.clock() - began_s
            self._cpu_s += seconds * workers.count * workers.cpus
            self._gpu_s += seconds * workers.count * workers.gpus

    def seconds(self) -> tuple[float, float]:
        """Return the CPU seconds and the GPU seconds so far, with those of the workers at work; from any thread."""
        now_s, held = self.clock(), list(self._held.values())
        cpu_s = sum((now_s - began_s) * workers.count * workers.cpus for began_s, workers in held)
        gpu_s = sum((now_s - began_s) * workers.count * workers.gpus for began_s, workers in held)
        return self._cpu_s + cpu_s, self._gpu_s + gpu_s
