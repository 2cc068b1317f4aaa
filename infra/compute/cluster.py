"""Ray: connect, check that the work fits, run units over actors, run a function on a group of workers.

The same calls run in this process where the mode says so; results do not depend on the mode.
"""

import contextlib
import importlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from infra.compute.group import GroupFunction, fit_group
from infra.compute.heartbeat import GRACE_S, LocalHeartbeat, Watch
from infra.compute.processes import Reaper
from infra.compute.ray_errors import first_line, plain_errors
from infra.compute.ray_heartbeat import start_heartbeat
from infra.compute.ray_signals import interrupts_kept
from infra.compute.units import PATIENCE_S, UnitTask, Workers, fitting, start_ledger, stream_units
from infra.errors import ResourceError, Term
from infra.storage.aside import replaced

Mode = Literal["ray", "in-process"]

_OBJECT_STORE_BYTES = 256 << 20
_SPARE_CPUS = 2  # for what Ray itself runs beside the work
_LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What its nodes report of their own ends, Ray writes to this process's output, fifty lines at a time, with no other
    # switch than this: lines to leave out are all.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray warns of each pool of actors that may restart
}


def _ignore(_: dict[str, Any]) -> None:
    pass


@dataclass
class Cluster:
    """A connection to Ray, made when the first work needs it and closed at the end of the `with` block.

    A connection that this process has already is used, and left open.

    Attributes:
        mode: `ray`, or `in-process` for no Ray at all.
        address: A running cluster's address; none starts a local one that dies with this process.
        cpus: What a local one has room for, at least; never less than this machine's own count.
        patience_s: How long to wait for room where nodes were lost.
    """

    mode: Mode = "ray"
    address: str | None = None
    cpus: int = 1
    patience_s: float = PATIENCE_S
    _connected: bool = field(default=False, init=False)
    _ledger: Any = field(default=None, init=False)
    _reaper: Reaper | None = field(default=None, init=False)
    _environment: dict[str, str | None] = field(default_factory=dict, init=False)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger = None
        if self._connected:
            import ray

            with interrupts_kept():
                ray.shutdown()
            self._connected = False
        if self._reaper is not None:
            self._reaper.end()
            self._reaper = None
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment.clear()

    def run_units(
        self, task: UnitTask, units: Sequence[int], *, workers: Workers, stage: str, on_done: Callable[[int], None]
    ) -> None:
        """Run every unit at least once; return when all are done.

        Args:
            task: Opened once a worker.
            units: Their numbers.
            workers: At most so many, fewer where there are fewer units; what does not fit yet joins when nodes do.
            stage: For error lines.
            on_done: Called here, in this process, with each unit's number.

        Raises:
            ResourceError: If the cluster is too small, or a unit keeps killing its worker.
            DdpmError: Whatever a unit raised.
        """
        if not units:
            return
        if self.mode == "in-process":
            run = task.open()
            for unit in units:
                run(unit)
                on_done(unit)
            return
        workers = Workers(count=min(workers.count, len(units)), cpus=workers.cpus, gpus=workers.gpus)
        self.connect()
        with interrupts_kept(), plain_errors(stage):
            if not fitting(workers):
                _refuse(replace(workers, count=1), stage)
            if self._ledger is None:
                self._ledger = start_ledger()
            for unit in stream_units(task, units, workers, stage, self._ledger, self.patience_s):
                on_done(unit)

    def run_group(
        self,
        function: GroupFunction,
        config: dict[str, Any],
        *,
        workers: Workers,
        stage: str,
        run_folder: str,
        on_poll: Callable[[], int],
        on_beat: Callable[[dict[str, Any]], None] = _ignore,
        grace_s: float = GRACE_S,
    ) -> None:
        """Run `function(config, beat)` on every worker of one torch.distributed group, by Ray Train.

        If anything is raised here meanwhile, as signals do, the group is asked to stop and has `grace_s` to save its
        work; then the same is raised, however the group ended.

        Args:
            function: Importable on the workers; it learns rank and world size from torch.distributed. Rank 0 calls
                `beat` about once a second, from a thread beside its work (see `infra.compute.heartbeat.Pulse`).
            config: JSON values.
            workers: The group.
            stage: For error lines.
            run_folder: Where Ray Train keeps its own files for this attempt; reachable from all workers.
            on_poll: Called here a few times a second while the group works; says how much is committed so far.
            on_beat: Called here with each new beat of rank 0. While the group saves after an interrupt it is not
                called, but once at the end.
            grace_s: How long an interrupted group may take to save; one without a beat yet ends at once.
        """
        if self.mode == "in-process":
            if workers.count != 1:
                raise ResourceError(
                    f"{workers.count} workers do not run in one process",
                    stage=stage,
                    remedy=f"{Term.ONE_WORKER} or use Ray",
                )
            watch = Watch(heartbeat=LocalHeartbeat(), on_poll=on_poll, on_beat=on_beat, grace_s=grace_s)
            watch.follow(partial(function, config, watch.heartbeat.beat))
            return
        self.connect()
        with interrupts_kept(), plain_errors(stage):
            if fitting(workers) < workers.count:
                _refuse(workers, stage)
            watch = Watch(heartbeat=start_heartbeat(), on_poll=on_poll, on_beat=on_beat, grace_s=grace_s)
            fit_group(function, config, workers, stage, run_folder, watch, self.patience_s)

    def connect(self) -> None:
        """Connect now, or do nothing where a connection exists or the mode needs none.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if self.mode == "in-process" or self._connected:
            return
        for name, value in _LOCAL_ENVIRONMENT.items():
            self._set_environment(name, value)
        if self.address is None:
            self._set_environment("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this one node away
            self._set_token()
        import ray

        if ray.is_initialized():
            return
        with interrupts_kept(), self._cleaned_up_after() as reaper, _stderr_closed(), plain_errors("connect"):
            try:
                context = ray.init(**self._options())
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ResourceError(
                    f"Ray did not answer ({first_line(error)})",
                    item=self.address or "local Ray",
                    remedy="check RAY_ADDRESS" if self.address else "run again",
                ) from error
            if reaper is not None:
                reaper.remove_later(context.address_info["session_dir"])
        for name in ("ray", "ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connected = True

    @contextlib.contextmanager
    def _cleaned_up_after(self) -> Iterator[Reaper | None]:
        """Have what a local Ray leaves behind ended and removed when this process ends, in whatever way."""
        if self.address is None and self._reaper is None:
            self._reaper = Reaper.start()
        with self._reaper.marking() if self._reaper is not None else contextlib.nullcontext():
            yield self._reaper

    def warm_up(self) -> None:
        """Import what takes Ray seconds when it is first used."""
        if self.mode == "ray":
            importlib.import_module("ray.data")
            importlib.import_module("ray.train.torch")

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is not None:
            return options | {"address": self.address}
        return options | {
            "address": "local",
            "num_cpus": max(os.cpu_count() or 1, self.cpus) + _SPARE_CPUS,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }

    def _set_environment(self, name: str, value: str) -> None:
        if name not in os.environ:
            self._environment[name] = None
            os.environ[name] = value

    def _set_token(self) -> None:
        """Have the local cluster's token in a file that only this user reads; Ray's own is readable by all."""
        if "RAY_AUTH_MODE" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
            return
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows"
        token = folder / "ray-token"
        if not token.exists():
            with replaced(token) as aside:
                aside.touch(mode=0o600)
                aside.write_text(secrets.token_hex(32))
        self._set_environment("RAY_AUTH_TOKEN_PATH", str(token))
        self._environment["RAY_AUTH_MODE"] = None  # ray.init sets it


def _refuse(workers: Workers, stage: str) -> None:
    import ray

    have, nodes = ray.cluster_resources(), sum(node["Alive"] for node in ray.nodes())
    wanted = " and ".join(f"{n} {name}" for name, n in (("CPU", workers.cpus), ("GPU", workers.gpus)) if n)
    there = " and ".join(f"{have.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    raise ResourceError(
        f"{workers.count} workers of {wanted} each do not fit the cluster's {nodes} nodes with {there} in all",
        stage=stage,
        remedy="set fewer workers or threads, or add nodes",
    )


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Keep Ray's native code from writing its start-up lines between ours; what fails is raised all the same."""
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
