"""Ray: connect, check that the work fits, run units over actors, run a function on a group of workers.

The same calls run in this process where the mode says so; results do not depend on the mode.
"""

import contextlib
import logging
import os
import secrets
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from infra.errors import DdpmError, ResourceError, error_from_json, error_to_json
from infra.ray_errors import first_line, lost_a_worker, plain_errors

Mode = Literal["ray", "in-process"]

# A unit that has been begun so often and not finished takes its worker down each time.
_ATTEMPTS_PER_UNIT = 3
_RESTARTS = 20
_POLL_S = 0.25
_LEDGER_TIMEOUT_S = 60
_OBJECT_STORE_BYTES = 256 << 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray warns of each pool of actors that may restart
}


class UnitTask(Protocol):
    """Work in units; sent to the workers, which open it once and then call the result for each unit."""

    def open(self) -> Callable[[int], None]:
        """Load what all units need; the result computes and commits one unit."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many, and what each takes."""

    count: int = 1
    cpus: int = 1
    gpus: int = 0


@dataclass
class Cluster:
    """A connection to Ray, made when the first work needs it and closed at the end of the `with` block.

    Attributes:
        mode: `ray`, or `in-process` for no Ray at all.
        address: A running cluster's address; none starts a local one that dies with this process.
    """

    mode: Mode = "ray"
    address: str | None = None
    _connected: bool = field(default=False, init=False)
    _environment: dict[str, str | None] = field(default_factory=dict, init=False)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
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
            workers: At most so many, fewer where there are fewer units.
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
        self._connect(workers)
        with plain_errors(stage):
            _check_resources(workers, stage)
            for unit in _ray_data_units(task, units, workers, stage):
                on_done(unit)

    def run_group(
        self, function: Callable[[dict[str, Any]], None], config: dict[str, Any], *, workers: Workers, stage: str,
        run_folder: str, on_poll: Callable[[], None],
    ) -> None:
        """Run `function(config)` on every worker of one torch.distributed group, by Ray Train.

        Args:
            function: Importable on the workers; it learns rank and world size from torch.distributed.
            config: JSON values.
            workers: The group.
            stage: For error lines.
            run_folder: Where Ray Train keeps its own files for this attempt; reachable from all workers.
            on_poll: Called here a few times a second while the group works.
        """
        if self.mode == "in-process":
            if workers.count != 1:
                raise ResourceError(
                    f"{workers.count} workers do not run in one process", stage=stage,
                    remedy="set num_workers=1 or use Ray",
                )
            function(config)
            on_poll()
            return
        self._connect(workers)
        with plain_errors(stage):
            _check_resources(workers, stage)
            _fit(function, config, workers, run_folder, on_poll)

    def _connect(self, workers: Workers) -> None:
        if self._connected:
            return
        for name, value in _LOCAL_ENVIRONMENT.items():
            self._set_environment(name, value)
        if self.address is None:
            self._set_token()
        import ray

        with _handlers_kept(), _stderr_closed(), plain_errors("connect"):
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if self.address is None:
                cpus = max(os.cpu_count() or 1, workers.count * workers.cpus) + 2
                options |= {
                    "address": "local", "num_cpus": cpus, "include_dashboard": False,
                    "object_store_memory": _OBJECT_STORE_BYTES,
                }
            else:
                options |= {"address": self.address}
            try:
                ray.init(**options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ResourceError(
                    f"Ray did not answer ({first_line(error)})", item=self.address or "local Ray",
                    remedy="check RAY_ADDRESS" if self.address else "run again",
                ) from error
        for name in ("ray", "ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connected = True

    def _set_environment(self, name: str, value: str) -> None:
        if name not in os.environ:
            self._environment[name] = None
            os.environ[name] = value

    def _set_token(self) -> None:
        """Give the local cluster a token in a file that only this user reads."""
        if "RAY_AUTH_MODE" in os.environ:
            return
        folder = Path(tempfile.mkdtemp(prefix="ddpm-ray-"))
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self._set_environment("RAY_AUTH_MODE", "token")
        self._set_environment("RAY_AUTH_TOKEN_PATH", str(token))


def _ray_data_units(task: UnitTask, units: Sequence[int], workers: Workers, stage: str) -> Iterator[int]:
    """Stream the units through a pool of actors by Ray Data; yields each as it ends."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    ledger = ray.remote(num_cpus=0, max_restarts=0)(_Ledger).remote()
    rows = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
    done = rows.map_batches(
        _UnitActor,
        fn_constructor_args=(task, ledger, stage),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        ray_remote_args_fn=lambda: {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS},
    )
    for row in done.iter_rows():
        if row["error"]:
            raise error_from_json(row["error"])
        yield int(row["unit"])


class _Ledger:
    """An actor that counts how often each unit was begun, so that one that kills its worker is found out."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, unit: int) -> int:
        self._begun[unit] = self._begun.get(unit, 0) + 1
        return self._begun[unit]


class _UnitActor:
    """Runs units on a worker; our own errors travel as data, since Ray Data keeps only the text of what is raised."""

    def __init__(self, task: UnitTask, ledger: Any, stage: str) -> None:  # noqa: ANN401 - an actor handle
        self._task = task
        self._run: Callable[[int], None] | None = None
        self._ledger = ledger
        self._stage = stage

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (unit,) = batch["unit"].tolist()
        try:
            self._count(unit)
            if self._run is None:
                self._run = self._task.open()
            self._run(unit)
        except DdpmError as error:
            return {"unit": [unit], "error": [error_to_json(error)]}
        return {"unit": [unit], "error": [""]}

    def _count(self, unit: int) -> None:
        import ray

        if ray.get(self._ledger.begin.remote(unit), timeout=_LEDGER_TIMEOUT_S) > _ATTEMPTS_PER_UNIT:
            raise ResourceError(
                f"ended its worker {_ATTEMPTS_PER_UNIT} times", item=f"unit {unit}", stage=self._stage,
                remedy="look for a shortage of memory; a smaller batch needs less",
            )


def _fit(
    function: Callable[[dict[str, Any]], None], config: dict[str, Any], workers: Workers, run_folder: str,
    on_poll: Callable[[], None],
) -> None:
    """Run a TorchTrainer, anew under another name when it loses workers: our own checkpoints decide where it goes on."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    for attempt in range(1, _ATTEMPTS_PER_UNIT + 1):
        trainer = TorchTrainer(
            function,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker={"CPU": workers.cpus}
            ),
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            run_config=RunConfig(
                name=uuid.uuid4().hex, storage_path=run_folder,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=_ATTEMPTS_PER_UNIT),
            ),
        )
        try:
            _run_in_thread(trainer.fit, on_poll)
        except TrainingFailedError as error:
            if attempt == _ATTEMPTS_PER_UNIT or not lost_a_worker(error):
                raise
        else:
            return


def _run_in_thread(function: Callable[[], object], on_poll: Callable[[], None]) -> None:
    """Call in a thread of its own, and poll in this one, which so stays interruptible."""
    outcome: list[BaseException | None] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=call, name="ray-train-fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(timeout=_POLL_S)
        on_poll()
    if outcome[0] is not None:
        raise outcome[0]


def _check_resources(workers: Workers, stage: str) -> None:
    import ray

    have = ray.cluster_resources()
    for name, each in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if workers.count * each > have.get(name, 0):
            raise ResourceError(
                f"{workers.count} workers of {each} {name} each need more than the cluster's {have.get(name, 0):g}",
                stage=stage, remedy="set fewer workers or threads, or add nodes",
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
