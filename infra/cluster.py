"""Ray: connect, check that the work fits, run units over actors, run a function on a group of workers.

The same calls run in this process where the mode says so; results do not depend on the mode.
"""

import contextlib
import importlib
import logging
import os
import secrets
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from infra.errors import ResourceError
from infra.ray_errors import first_line, plain_errors
from infra.ray_group import fit_group
from infra.ray_units import PATIENCE_S, UnitTask, Workers, fitting, start_ledger, stream_units

Mode = Literal["ray", "in-process"]

_OBJECT_STORE_BYTES = 256 << 20
_SPARE_CPUS = 2  # for what Ray itself runs beside the work
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What its nodes report of their own ends, Ray writes to this process's output, fifty lines at a time, with no other
    # switch than this: lines to leave out are all.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray warns of each pool of actors that may restart
}


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
    _environment: dict[str, str | None] = field(default_factory=dict, init=False)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger = None
        if self._connected:
            import ray

            with _handlers_kept():
                ray.shutdown()
            self._connected = False
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
        with plain_errors(stage):
            if not fitting(workers):
                _refuse(replace(workers, count=1), stage)
            if self._ledger is None:
                self._ledger = start_ledger()
            for unit in stream_units(task, units, workers, stage, self._ledger, self.patience_s):
                on_done(unit)

    def run_group(
        self,
        function: Callable[[dict[str, Any]], None],
        config: dict[str, Any],
        *,
        workers: Workers,
        stage: str,
        run_folder: str,
        on_poll: Callable[[], int],
    ) -> None:
        """Run `function(config)` on every worker of one torch.distributed group, by Ray Train.

        Args:
            function: Importable on the workers; it learns rank and world size from torch.distributed.
            config: JSON values.
            workers: The group.
            stage: For error lines.
            run_folder: Where Ray Train keeps its own files for this attempt; reachable from all workers.
            on_poll: Called here a few times a second while the group works; says how much is committed so far.
        """
        if self.mode == "in-process":
            if workers.count != 1:
                raise ResourceError(
                    f"{workers.count} workers do not run in one process",
                    stage=stage,
                    remedy="set train.workers=1 or use Ray",
                )
            function(config)
            on_poll()
            return
        self.connect()
        with plain_errors(stage):
            if fitting(workers) < workers.count:
                _refuse(workers, stage)
            fit_group(function, config, workers, stage, run_folder, on_poll, self.patience_s)

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
        with _handlers_kept(), _stderr_closed(), plain_errors("connect"):
            try:
                ray.init(**self._options())
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ResourceError(
                    f"Ray did not answer ({first_line(error)})",
                    item=self.address or "local Ray",
                    remedy="check RAY_ADDRESS" if self.address else "run again",
                ) from error
        for name in ("ray", "ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connected = True

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
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "ray-token"
        if not token.exists():
            aside = folder / f"ray-token-{uuid.uuid4().hex}"
            aside.touch(mode=0o600)
            aside.write_text(secrets.token_hex(32))
            aside.rename(token)
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


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray replaces signal handlers; put ours back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
