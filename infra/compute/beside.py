"""One worker beside a group: an actor that takes work one piece after the other, and whose loss costs that alone."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.compute.processes import end_with_parent
from infra.compute.ray_errors import first_line
from infra.compute.units import Workers, fitting
from infra.errors import DdpmError, StorageError

# JSON values -> the function of a piece of work, which takes and returns JSON values.
Opening = Callable[[dict[str, Any]], Callable[[dict[str, Any]], dict[str, Any]]]
_LOSSES = 3
# After an error of the store; a try may itself take that long.
_AWAY_S = 30.0
# As long as what ended a moment ago may still count as taken.
_RELEASE_S, _LOOK_S = 3.0, 0.25
_NICE = 10  # beyond the 15 of Ray's workers; the system stops at 19


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The end of a piece of work.

    Attributes:
        work: The work.
        result: Its result; None if it failed or its worker was lost.
        error: One line about the failure; empty without one.
        again_in_s: Seconds after which the same work may succeed, since the worker was lost or the store was away; None
            if it would fail again.
    """

    work: dict[str, Any]
    result: dict[str, Any] | None
    error: str = ""
    again_in_s: float | None = None


class Beside:
    """A worker beside a group, on the driver's side. It starts with the first work and ends with the driver's Ray.

    A lost worker is replaced at the next work; after three losses there is none any more.

    Args:
        opening: Opens the work on the worker, once; importable there.
        values: The argument of `opening`.
        group: The group that it works beside; it takes as many CPUs and GPUs as one of its workers.
    """

    def __init__(self, opening: Opening, values: dict[str, Any], group: Workers) -> None:
        self._opening, self._values, self._group = opening, values, group
        self._actor: Any = None
        self._started: Any = None
        self._pending: tuple[dict[str, Any], Any] | None = None
        self._losses = 0

    @property
    def is_busy(self) -> bool:
        """True if it has work in hand."""
        return self._pending is not None

    @property
    def is_free(self) -> bool:
        """True if it can take work now."""
        return self._pending is None and self._losses < _LOSSES

    def fits(self) -> bool:
        """Tell whether the cluster could still hold the group and this worker; a lost node may leave too little."""
        return fitting(self._group) > self._group.count

    def has_room(self) -> bool:
        """Tell whether the cluster has room for the group and this worker beside all that runs there now.

        To be asked before the group starts. Others' work on a shared cluster may hold what its nodes have.
        """
        deadline_s = time.monotonic() + _RELEASE_S
        while not self._is_available():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_LOOK_S)  # Ray reports no resource that becomes free; bounded by the deadline
        return True

    def _is_available(self) -> bool:
        import ray

        free, workers = ray.available_resources(), self._group.count + 1
        needed = {"CPU": workers * self._group.cpus, "GPU": workers * self._group.gpus}
        return all(free.get(name, 0) >= amount for name, amount in needed.items())

    @property
    def waits_for_room(self) -> bool:
        """True if it has work in hand and its process has not started, for want of free resources in the cluster."""
        import ray

        if self._pending is None or self._started is None:
            return False
        ready, _ = ray.wait([self._started], timeout=0)
        return not ready

    def submit(self, work: dict[str, Any]) -> None:
        """Take a piece of work; `is_free` must hold."""
        import ray

        assert self.is_free, "one piece of work at a time"
        if self._actor is None:
            options = {"num_cpus": self._group.cpus, "num_gpus": self._group.gpus}
            self._actor = ray.remote(max_restarts=0, max_task_retries=0, **options)(_Actor).remote(
                self._opening, self._values
            )
            self._started = self._actor.start.remote()
        self._pending = (work, self._actor.run.remote(work))

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Return the answer to the work in hand, once; None if there is none yet after `wait_s`."""
        import ray
        from ray.exceptions import RayError

        if self._pending is None:
            return None
        work, reference = self._pending
        ready, _ = ray.wait([reference], timeout=wait_s)
        if not ready:
            return None
        self._pending = None
        try:
            result: dict[str, Any] = ray.get(reference)
        except RayError as error:
            self._losses += 1
            self.end()
            return Answer(work=work, result=None, error=f"its worker was lost ({first_line(error)})", again_in_s=0.0)
        return Answer(work=work, **result)

    def end(self) -> None:
        """End the worker; work in hand is given up."""
        import ray

        actor, self._actor, self._started, self._pending = self._actor, None, None, None
        if actor is not None:
            with contextlib.suppress(Exception):  # it may have ended by itself
                ray.kill(actor)


class _Actor:
    def __init__(self, opening: Opening, values: dict[str, Any]) -> None:
        end_with_parent()
        os.nice(_NICE)  # the group's steps go first
        self._opening, self._values = opening, values
        self._run: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def start(self) -> None:
        """Do nothing, as the first call."""

    def run(self, work: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._run is None:
                self._run = self._opening(self._values)
            return {"result": self._run(work)}
        except StorageError as error:
            return {"result": None, "error": str(error), "again_in_s": _AWAY_S}
        except DdpmError as error:
            return {"result": None, "error": str(error)}
        except Exception as error:  # such as for want of memory: work beside a group must not end the driver
            return {"result": None, "error": str(error).partition("\n")[0] or type(error).__name__}
