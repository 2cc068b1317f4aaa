"""Room for workers in a cluster: refused if there is none, or waited for if the cluster brings nodes by itself."""

import time
from collections.abc import Callable

from infra.compute.answers import alive
from infra.compute.autoscaler import demand
from infra.compute.units import Workers, fitting
from infra.errors import ResourceError, Term

_POLL_S = 0.5


def too_large(workers: Workers, stage: str) -> ResourceError:
    """Return the error for workers that the cluster's nodes cannot hold."""
    import ray

    have = ray.cluster_resources()
    no_gpu = workers.gpus and not have.get("GPU")
    there = " and ".join(f"{have.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    return ResourceError(
        f"{in_words(workers)} do not fit the cluster's {len(alive())} nodes with {there} in all",
        stage=stage,
        remedy=f"{'set device=cpu' if no_gpu else 'set fewer workers or threads'}, or add nodes",
    )


def in_words(workers: Workers) -> str:
    """Return the number of workers and the resources of each."""
    return f"{workers.count} workers of {' and '.join(f'{n} {name}' for name, n in workers.each.items())} each"


def await_room(workers: Workers, stage: str, patience_s: float, on_wait: Callable[[str], None]) -> None:
    """Have the cluster's autoscaler bring nodes, and wait until they can hold all workers.

    Args:
        workers: Their number must be known.
        stage: For lines.
        patience_s: The longest wait.
        on_wait: Receives a line about the wait.

    Raises:
        ResourceError: If there is no room after `patience_s`.
    """
    on_wait(f"{stage:>9} waits for nodes: the autoscaler is asked for room for {in_words(workers)}")
    end = time.monotonic() + patience_s
    with demand(workers):
        while fitting(workers) < workers.count:
            if time.monotonic() > end:
                raise ResourceError(
                    f"the autoscaler brought no room for {in_words(workers)} within {patience_s:g} s",
                    stage=stage,
                    remedy=f"let it bring larger or more nodes, set fewer workers or threads, or {Term.LONGER_WAIT}",
                )
            time.sleep(_POLL_S)  # Ray reports no node that joins; bounded by patience_s
