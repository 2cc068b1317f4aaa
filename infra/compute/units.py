"""Units of work streamed through a pool of actors by Ray Data.

Attempts are counted and room is watched here because Ray does neither per unit: its restarts and retries count for an
actor or a task of its own, so a unit that kills every worker would take the whole pool's; and it waits for lost nodes
without end.
"""

import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from infra.compute.processes import end_with_parent
from infra.errors import DdpmError, ResourceError, error_from_json, error_to_json

# A unit that was begun this often and never finished takes its worker down each time.
ATTEMPTS_PER_UNIT = 3
_RESTARTS = 20
_LEDGER_TIMEOUT_S = 60
# As long as a cluster that grows by itself may take to bring a node.
PATIENCE_S = 600.0
_LOOKS_IN_PATIENCE = 100


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The number of workers, 0 for as many as the cluster holds, and the CPUs and GPUs of each."""

    count: int = 1
    cpus: int = 1
    gpus: int = 0

    @property
    def each(self) -> dict[str, int]:
        """The resources of a worker by Ray's names, without those that it needs none of."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}


def workers_on(device: str, count: int, threads: int) -> Workers:
    """Return workers of one GPU each if the device is `cuda`, and of as many CPUs as threads."""
    return Workers(count=count, cpus=threads, gpus=1 if device == "cuda" else 0)


def no_room(workers: Workers, stage: str, why: str) -> ResourceError:
    """Return the error for nodes that were lost and not replaced."""
    return ResourceError(
        f"the cluster has no room for {workers.count} workers ({why})",
        stage=stage,
        remedy="add nodes and run again: what is finished is kept",
    )


class UnitTask(Protocol):
    """Work in units. Each worker receives the task, opens it once, and calls the result for each unit."""

    def open(self) -> Callable[[int], None]:
        """Load the data that all units need; return a function that computes and commits one unit."""


def start_ledger() -> Any:  # noqa: ANN401 - an actor handle
    """Start the actor that counts attempts; it serves all pools of a connection and ends with it.

    It runs on the driver's own node, so that no other node takes it away.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(_Ledger).remote()


def fitting(workers: Workers) -> int:
    """Return how many such workers the cluster's nodes could hold if nothing else were running there."""
    import ray

    return sum(fits(node["Resources"], workers) for node in ray.nodes() if node["Alive"])


def fits(resources: Mapping[str, float], workers: Workers) -> int:
    """Return how many such workers resources suffice for, by Ray's names."""
    return int(min(resources.get(name, 0) // amount for name, amount in workers.each.items()))


def stream_units(
    task: UnitTask,
    units: Sequence[int],
    workers: Workers,
    stage: str,
    ledger: Any,  # noqa: ANN401 - an actor handle
    patience_s: float,
) -> Iterator[tuple[int, int]]:
    """Stream the units through a pool of actors by Ray Data; yields each as it ends, with the number of its retries.

    The pool begins with the actors that fit and grows to `workers.count` as the cluster does.

    Raises:
        ResourceError: If the cluster has had no room for any of them for `patience_s`.
    """
    import ray
    from ray.util.annotations import RayDeprecationWarning

    # Restarts of a pool's actors have no named parameter yet.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning, message=".ray_remote_args")
    first = max(min(workers.count, fitting(workers)), 1)
    rows = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
    done = rows.map_batches(
        _UnitActor,
        fn_constructor_args=(task, _Attempts(ledger=ledger, pool=uuid.uuid4().hex), stage),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=first, max_size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        ray_remote_args_fn=lambda: {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS},
    )
    done.context.enable_progress_bars = False
    done.context.print_on_execution_start = False
    done.context.custom_execution_callback_classes = [lambda: _RoomWatch(workers, stage, patience_s)]
    for row in done.iter_rows():
        if row["error"]:
            raise error_from_json(row["error"])
        yield int(row["unit"]), int(row["retries"])


class _RoomWatch:
    """Ends a run that has no nodes left to work on: Ray itself waits for ever for lost nodes to come back.

    Ray Data calls it at every turn of its loop, some ten times a second, as a callback of an execution. It waits for a
    cluster that others' work keeps busy.
    """

    def __init__(self, workers: Workers, stage: str, patience_s: float) -> None:
        self._workers, self._stage, self._patience_s = workers, stage, patience_s
        self._last_room = self._last_look = time.monotonic()

    def on_execution_step(self, _: object) -> None:
        now = time.monotonic()
        if now - self._last_look < self._patience_s / _LOOKS_IN_PATIENCE:
            return
        self._last_look = now
        if fitting(self._workers):
            self._last_room = now
        elif now - self._last_room > self._patience_s:
            raise no_room(self._workers, self._stage, f"for {self._patience_s:g} s")

    def before_execution_starts(self, _: object) -> None:
        pass

    def after_execution_succeeds(self, _: object) -> None:
        pass

    def after_execution_fails(self, *_: object) -> None:
        pass


class _Ledger:
    """An actor that counts how often each unit was begun, so that a unit that kills its worker is found."""

    def __init__(self) -> None:
        end_with_parent()
        self._begun: Counter[tuple[str, int]] = Counter()

    def begin(self, pool: str, unit: int) -> int:
        self._begun[pool, unit] += 1
        return self._begun[pool, unit]


@dataclass(frozen=True, kw_only=True)
class _Attempts:
    """One pool's pages of the ledger."""

    ledger: Any
    pool: str

    def begin(self, unit: int) -> int:
        """Count one more attempt at a unit; return how many there are now."""
        import ray

        return int(ray.get(self.ledger.begin.remote(self.pool, unit), timeout=_LEDGER_TIMEOUT_S))


class _UnitActor:
    """Runs units on a worker; our own errors travel as data, since Ray Data keeps only the text of an exception."""

    def __init__(self, task: UnitTask, attempts: _Attempts, stage: str) -> None:
        end_with_parent()
        self._task = task
        self._run: Callable[[int], None] | None = None
        self._attempts = attempts
        self._stage = stage

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (unit,) = batch["unit"].tolist()
        retries = 0
        try:
            retries = self._count(unit) - 1
            if self._run is None:
                self._run = self._task.open()
            self._run(unit)
        except DdpmError as error:
            return {"unit": [unit], "retries": [retries], "error": [error_to_json(error)]}
        return {"unit": [unit], "retries": [retries], "error": [""]}

    def _count(self, unit: int) -> int:
        begun = self._attempts.begin(unit)
        if begun > ATTEMPTS_PER_UNIT:
            raise ResourceError(
                f"ended its worker {ATTEMPTS_PER_UNIT} times",
                item=f"unit {unit}",
                stage=self._stage,
                remedy="look for a shortage of memory; a smaller batch needs less",
            )
        return begun
