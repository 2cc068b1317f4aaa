"""Units of work streamed through a pool of actors by Ray Data."""

import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from infra.errors import DdpmError, ResourceError, error_from_json, error_to_json
from infra.processes import end_with_parent

# A unit that has been begun so often and not finished takes its worker down each time.
ATTEMPTS_PER_UNIT = 3
_RESTARTS = 20
_LEDGER_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many, and what each takes."""

    count: int = 1
    cpus: int = 1
    gpus: int = 0


class UnitTask(Protocol):
    """Work in units; sent to the workers, which open it once and then call the result for each unit."""

    def open(self) -> Callable[[int], None]:
        """Load what all units need; the result computes and commits one unit."""


def start_ledger() -> Any:  # noqa: ANN401 - an actor handle
    """Start the actor that counts attempts; it serves all pools of a connection and ends with it."""
    import ray

    return ray.remote(num_cpus=0, max_restarts=0)(_Ledger).remote()


def stream_units(
    task: UnitTask,
    units: Sequence[int],
    workers: Workers,
    stage: str,
    ledger: Any,  # noqa: ANN401 - an actor handle
    first: int,
) -> Iterator[int]:
    """Stream the units through a pool of actors by Ray Data; yields each as it ends.

    The pool begins with `first` actors and grows to `workers.count` as the cluster does.
    """
    import ray
    from ray.util.annotations import RayDeprecationWarning

    # Restarts of a pool's actors have no named parameter yet.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning, message=".ray_remote_args")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
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
    for row in done.iter_rows():
        if row["error"]:
            raise error_from_json(row["error"])
        yield int(row["unit"])


class _Ledger:
    """An actor that counts how often each unit was begun, so that one that kills its worker is found out."""

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
    """Runs units on a worker; our own errors travel as data, since Ray Data keeps only the text of what is raised."""

    def __init__(self, task: UnitTask, attempts: _Attempts, stage: str) -> None:
        end_with_parent()
        self._task = task
        self._run: Callable[[int], None] | None = None
        self._attempts = attempts
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
        if self._attempts.begin(unit) > ATTEMPTS_PER_UNIT:
            raise ResourceError(
                f"ended its worker {ATTEMPTS_PER_UNIT} times",
                item=f"unit {unit}",
                stage=self._stage,
                remedy="look for a shortage of memory; a smaller batch needs less",
            )
