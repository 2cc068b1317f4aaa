"""The heartbeat of a group on Ray: an actor on the driver's own node, which no other node takes away."""

import contextlib
from typing import Any

from infra.compute.heartbeat import LocalHeartbeat
from infra.compute.processes import end_with_parent

_REPLY_S = 10.0


class _HeartbeatActor(LocalHeartbeat):
    def __init__(self) -> None:
        end_with_parent()
        super().__init__()


class RayHeartbeat:
    """A handle on the actor, for the driver and for workers; a lost actor costs beats and nothing else."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - an actor handle
        self._actor = actor
        self._seen: tuple[int, dict[str, Any]] = (0, {})
        self._pending: Any = None

    def __reduce__(self) -> tuple[type["RayHeartbeat"], tuple[Any]]:
        return RayHeartbeat, (self._actor,)

    def beat(self, about: dict[str, Any]) -> bool:
        """Take a beat from the group; return whether it is to stop."""
        import ray

        return bool(ray.get(self._actor.beat.remote(about), timeout=_REPLY_S))

    def latest(self, wait_s: float = 0.0) -> tuple[int, dict[str, Any]]:
        """Return how many beats there were and the last one; without a wait, those of the latest answer."""
        import ray

        with contextlib.suppress(Exception):
            if self._pending is None or wait_s:
                self._pending = self._actor.latest.remote()
            ready, _ = ray.wait([self._pending], timeout=wait_s)
            if ready:
                # Forget it first: the answer of a lost actor is an error, each time.
                answer, self._pending = self._pending, None
                self._seen = ray.get(answer)
        return self._seen

    def request_stop(self) -> None:
        """Have every further beat answered by True."""
        with contextlib.suppress(Exception):
            self._actor.request_stop.remote()


def start_heartbeat() -> RayHeartbeat:
    """Start the actor; it ends with the last handle on it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return RayHeartbeat(ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(_HeartbeatActor).remote())
