"""The CPUs, GPUs and memory of this machine, or of a running cluster that is asked within a time limit.

`python -m infra.compute.capacity ADDRESS` asks the cluster, in a process of its own that can be ended.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.compute.cores import usable_cores

_TOP = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The resources that work may use in all.

    Attributes:
        place: Their place in words, such as "this machine".
        cpus: The number of CPUs.
        gpus: The number of GPUs; None if nobody asked.
        memory: The memory in bytes; 0 if it is not known.
        nodes: The number of nodes.
    """

    place: str
    cpus: int
    gpus: int | None
    memory: int
    nodes: int = 1


def this_machine(*, gpus: bool) -> Capacity:
    """Return the resources of this machine.

    Args:
        gpus: Also count the GPUs, which loads torch.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return Capacity(place="this machine", cpus=usable_cores(), gpus=_gpus() if gpus else None, memory=memory)


def ask_cluster(address: str, limit_s: float) -> Capacity | None:
    """Return the resources of a running Ray cluster; None if it does not answer.

    Args:
        address: The cluster's address.
        limit_s: The longest wait for the answer, in seconds.
    """
    command = [sys.executable, "-m", "infra.compute.capacity", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=True, cwd=_TOP)
        return Capacity(**json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, TypeError, IndexError):
        return None


def total(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sum of CPUs, GPUs and memory of Ray's nodes that are alive, and their number."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    names = {"cpus": "CPU", "gpus": "GPU", "memory": "memory"}
    found = {name: int(sum(resources.get(theirs, 0) for resources in alive)) for name, theirs in names.items()}
    return found | {"nodes": len(alive)}


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _main(address: str) -> None:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        found = Capacity(place=f"the cluster at {address}", **total(ray.nodes()))
    finally:
        ray.shutdown()
    print(json.dumps(asdict(found)))  # noqa: T201 - the answer to the process that asks


if __name__ == "__main__":
    _main(sys.argv[1])
