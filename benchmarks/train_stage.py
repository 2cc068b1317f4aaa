"""The training stage as a user runs it, and the CPU time of its processes, for `benchmarks.train`."""

import os
import time
from collections import defaultdict
from itertools import pairwise
from operator import mul
from pathlib import Path
from typing import Any, cast

from flows.artifacts import Dataset
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from flows.stages.train.training import train
from infra.compute.cluster import Cluster, Mode
from infra.storage.open import open_store
from infra.storage.store import Store


def prepared(config: PipelineConfig, root: str) -> Dataset:
    """Prepare the data set in this process, or find it."""
    return prepare(config.prepare, Context(store=open_store(root), cluster=Cluster(mode="in-process")))


def dataset_of(config: PipelineConfig, root: str) -> tuple[Store, Dataset]:
    """The store and the data set that is prepared there."""
    return open_store(root), prepared(config, root)


def stage_rate(config: PipelineConfig, root: str, mode: str) -> dict[str, Any]:
    """Run the stage; return its rate between the first and the last row, and the CPU seconds of its processes.

    `saving` is the share of that time in which checkpoints and points held up the steps.
    """
    store, dataset = dataset_of(config, root)
    usage = Usage()
    with Cluster(mode=cast(Mode, mode), cpus=config.train.cpus) as cluster:
        context = Context(store=store, cluster=cluster, on_history=usage.note)
        train(config.train, dataset, context)
    first, last = usage.rows[0], usage.rows[-1]
    rate = (last["images_seen"] - first["images_seen"]) * 1e3 / (last["time_ms"] - first["time_ms"])
    return {"rate": rate, "saving": _saving(usage.rows), "wall_s": usage.wall_s, "cpu_s": usage.seconds()}


def _saving(rows: list[dict[str, Any]]) -> float:
    times = [after["time_ms"] - before["time_ms"] for before, after in pairwise(rows)]
    shares = [row.get("checkpoint_share", 0.0) for row in rows[1:]]
    return sum(map(mul, times, shares)) / sum(times)


class Usage:
    """Rows of the history, and the CPU time of this process and its descendants from the first row on."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._first: tuple[float, dict[tuple[int, str], float]] | None = None
        self._last: tuple[float, dict[tuple[int, str], float]] = (0.0, {})

    def note(self, rows: list[dict[str, Any]]) -> None:
        """Take new rows and read all clocks."""
        self.rows += rows
        self._last = time.monotonic(), cpu_seconds()
        self._first = self._first or self._last

    @property
    def wall_s(self) -> float:
        """Seconds between the first and the last note."""
        return self._last[0] - (self._first or self._last)[0]

    def seconds(self) -> dict[str, float]:
        """CPU seconds between them by the name of the process; processes of one name are added up."""
        before, used = (self._first or self._last)[1], defaultdict[str, float](float)
        for process, seconds in self._last[1].items():
            used[process[1]] += seconds - before.get(process, 0.0)
        return {name: round(seconds, 2) for name, seconds in used.items()}


def cpu_seconds() -> dict[tuple[int, str], float]:
    """CPU seconds of this process and its descendants so far, by pid and name; Linux only."""
    ticks, parents, seconds = os.sysconf("SC_CLK_TCK"), {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return {(pid, _name(pid)): used for pid, used in seconds.items() if _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parents.get(pid, 0)
    return False


def _name(pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    # Ray's own programs run as `python -u .../agent.py`; its workers have names such as ray::RayTrainWorker.
    scripts = [word for word in words if word.endswith(".py")]
    return Path(scripts[0]).name if scripts else Path(words[0].split(" ")[0]).name
