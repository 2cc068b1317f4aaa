"""Ray's layers of exceptions, turned into our own errors."""

import contextlib
import re
from collections.abc import Iterator

from infra.compute.preemption import PreemptedError
from infra.errors import DdpmError, ResourceError

# Ray Train's error for a worker that no longer answers is private.
_HANGS = "WorkerHealthCheckTimeoutError"
# The messages of gloo and NCCL when the other end of a connection is gone.
_PEER_LOST = re.compile(r"Connection (reset|closed) by peer|gloo/transport/.*(timed out|error)|ncclRemoteError")


@contextlib.contextmanager
def plain_errors(stage: str) -> Iterator[None]:
    """Raise a worker's exception without the layers that Ray puts around it."""
    from ray.exceptions import RayError, RayTaskError
    from ray.train import TrainingFailedError

    try:
        yield
    except (RayError, TrainingFailedError) as error:
        links = list(_chain(error))
        for link in links:
            # Ray also raises a class made of its own error and ours; the cause of that one is plain.
            if type(link).__module__ == DdpmError.__module__:
                raise link from None
        if not lost_a_worker(error) and any(isinstance(link, RayTaskError | TrainingFailedError) for link in links):
            raise
        # Ray Train's own message begins with a line that says only that something failed.
        failures = [*getattr(error, "worker_failures", {}).values(), error]
        raise ResourceError(f"lost its workers ({first_line(failures[0])})", stage=stage, remedy="run again") from error


def lost_a_worker(error: BaseException) -> bool:
    """Tell whether a worker died, hangs, or left because its machine is about to go, rather than its function failed.

    The others of its group may notice before Ray does, by the connection that broke in the middle of a collective. If
    one of them ended by an error of ours, such as for want of memory, that one broke it.
    """
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError
    from ray.train import PreemptionError

    lost = RayActorError | WorkerCrashedError | NodeDiedError | OutOfMemoryError | PreemptionError | PreemptedError
    links = list(_chain(error))
    if any(isinstance(link, lost) or type(link).__name__ == _HANGS for link in links):
        return True
    if any(type(link).__module__ == DdpmError.__module__ for link in links):
        return False
    return any(isinstance(link, RuntimeError) and _PEER_LOST.search(str(link)) for link in links)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all of its causes."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        causes = [
            getattr(link, "cause", None),
            getattr(link, "controller_failure", None),
            getattr(link, "health_check_failure", None),
            link.__cause__,
            *getattr(link, "worker_failures", {}).values(),
        ]
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name."""
    return _line(error, 0)


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or its name."""
    return _line(error, -1)


def _line(error: BaseException, place: int) -> str:
    lines = str(error).strip().splitlines()
    return lines[place].strip()[:200] if lines else type(error).__name__
