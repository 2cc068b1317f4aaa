"""The load of this machine while a run works: its CPUs, its memory and its NVIDIA GPUs, looked at now and then.

A thread reads /proc, which costs less than a millisecond, and asks `nvidia-smi` if the machine has it. psutil and NVML
would be two more packages for six numbers.
"""

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_FIRST_S, _USUAL_S, _LONGEST_S = 1.0, 10.0, 600.0
# After so many looks the pause doubles, so that a run of weeks leaves a few thousand rows.
_LOOKS = 360
_GPU_QUERY = ("--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits")
_GPU_LIMIT_S = 5.0
_IDLE = (3, 4)  # the columns of /proc/stat that count idle time, and waiting for a disk

# A moment, in milliseconds since 1970 under `time_ms`, and what was busy then, by name.
Row = dict[str, float]


@dataclass
class Usage:
    """Looks at this machine while its `with` block lasts; elsewhere than on Linux it finds nothing.

    The names are those of MLflow's own system metrics, so that its pages show them as such.

    Attributes:
        proc: The folder of the kernel's files.
        clock: Returns milliseconds since 1970.
    """

    proc: Path = Path("/proc")
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _rows: list[Row] = field(default_factory=list)
    _ticks: tuple[int, int] | None = None
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if (self.proc / "stat").is_file():
            self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(2 * _GPU_LIMIT_S)

    def __len__(self) -> int:
        """Return the number of rows that nobody has taken."""
        return len(self._rows)

    def take(self) -> list[Row]:
        """Return the rows since the last call."""
        count = len(self._rows)
        taken, self._rows[:count] = self._rows[:count], []
        return taken

    def look(self) -> None:
        """Add a row; the CPUs' share is that since the last look, so the first row has none."""
        row = dict([*self._cpus(), *self._memory(), *_gpus()])
        if row:
            self._rows.append({"time_ms": self.clock()} | row)

    def _watch(self) -> None:
        for pause_s in _pauses():
            with contextlib.suppress(OSError, ValueError):
                self.look()
            if self._end.wait(pause_s):
                return

    def _cpus(self) -> Iterator[tuple[str, float]]:
        columns = [int(text) for text in (self.proc / "stat").read_text().splitlines()[0].split()[1:9]]
        before, self._ticks = self._ticks, (sum(columns), sum(columns[column] for column in _IDLE))
        if before is not None and self._ticks[0] > before[0]:
            idle = (self._ticks[1] - before[1]) / (self._ticks[0] - before[0])
            yield "cpu_utilization_percentage", round(100 * (1 - idle), 1)

    def _memory(self) -> Iterator[tuple[str, float]]:
        lines = (line.split() for line in (self.proc / "meminfo").read_text().splitlines())
        known = {name.rstrip(":"): int(kilobytes) for name, kilobytes, *_ in lines}
        used = known["MemTotal"] - known["MemAvailable"]
        yield "system_memory_usage_megabytes", round(used / 1024, 1)
        yield "system_memory_usage_percentage", round(100 * used / known["MemTotal"], 1)


def _pauses() -> Iterator[float]:
    """Yield the pauses between looks: short at first, since a run may be; ever longer in a long one."""
    pause_s = _FIRST_S
    while pause_s < _USUAL_S:
        yield pause_s
        pause_s *= 2
    pause_s = _USUAL_S
    while True:
        for _ in range(_LOOKS):
            yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_S)


def _gpus() -> Iterator[tuple[str, float]]:
    if (program := shutil.which("nvidia-smi")) is None:
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run([program, *_GPU_QUERY], capture_output=True, text=True, timeout=_GPU_LIMIT_S, check=True)
        for line in asked.stdout.splitlines():
            with contextlib.suppress(ValueError):  # "[N/A]" on some GPUs
                number, busy, used = line.split(",")
                yield f"gpu_{int(number)}_utilization_percentage", float(busy)
                yield f"gpu_{int(number)}_memory_usage_megabytes", float(used)
