"""How busy this machine is: figures of files that say so, and of this machine itself."""

import itertools
import os
import sys
import time
from pathlib import Path

import pytest

from infra.compute.usage import Usage, _pauses

MEMINFO = "MemTotal:       8000000 kB\nMemFree:         500000 kB\nMemAvailable:    6000000 kB\nHugePages_Total:  0\n"


def put(proc: Path, *ticks: int) -> None:
    (proc / "stat").write_text(f"cpu  {' '.join(map(str, ticks))} 7 7\ncpu0 1 2 3\n")
    (proc / "meminfo").write_text(MEMINFO)


@pytest.fixture
def usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Usage:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Usage(proc=tmp_path, clock=lambda: 17)


def test_cpus_and_memory(usage: Usage, tmp_path: Path) -> None:
    put(tmp_path, 100, 0, 50, 800, 50, 0, 0, 0)
    usage.look()
    put(tmp_path, 130, 0, 60, 850, 60, 0, 0, 0)  # of 100 more ticks 50 were idle, and 10 waited for a disk
    usage.look()
    memory = {"system_memory_usage_megabytes": 1953.1, "system_memory_usage_percentage": 25.0}
    assert len(usage) == 2
    assert usage.take() == [{"time_ms": 17} | memory, {"time_ms": 17, "cpu_utilization_percentage": 40.0} | memory]
    assert usage.take() == []


def test_gpus(usage: Usage, tmp_path: Path) -> None:
    put(tmp_path, 1, 1, 1, 1, 1, 1, 1, 1)
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '0, 87, 1024'\necho '1, [N/A], 10'\necho '10, 3, 0'\n")
    program.chmod(0o755)
    usage.look()
    (row,) = usage.take()
    assert {name: value for name, value in row.items() if name.startswith("gpu")} == {
        "gpu_0_utilization_percentage": 87.0,
        "gpu_0_memory_usage_megabytes": 1024.0,
        "gpu_10_utilization_percentage": 3.0,
        "gpu_10_memory_usage_megabytes": 0.0,
    }
    program.write_text("#!/bin/sh\necho broken; exit 9\n")
    usage.look()
    assert not [name for row in usage.take() for name in row if name.startswith("gpu")]


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_busy_process_is_seen_on_this_machine() -> None:
    with Usage() as usage:
        end, count = time.monotonic() + 1.5, 0
        while time.monotonic() < end:
            count += 1
    rows = usage.take()
    assert count
    assert len(rows) >= 2
    assert rows[-1]["cpu_utilization_percentage"] >= 0.5 * 100 / (os.cpu_count() or 1)
    assert 0 < rows[0]["system_memory_usage_percentage"] < 100
    assert abs(rows[0]["time_ms"] / 1000 - time.time()) < 60


def test_elsewhere_there_is_nothing_to_see(tmp_path: Path) -> None:
    with Usage(proc=tmp_path / "none") as usage:
        pass
    assert usage.take() == []


def test_a_short_run_has_rows_and_a_long_one_not_too_many() -> None:
    times = list(itertools.takewhile(lambda at: at < 30 * 86400, itertools.accumulate(_pauses())))
    assert sum(at < 10 for at in times) >= 3
    assert len(times) < 10_000
