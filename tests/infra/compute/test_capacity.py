"""The resources of a place: this machine's at once, a cluster's if it answers."""

import time
from pathlib import Path

import pytest

from infra.compute.capacity import ask_cluster, this_machine, total
from infra.compute.cores import usable_cores


def test_this_machine() -> None:
    found = this_machine(gpus=False)
    assert (found.cpus, found.gpus, found.nodes) == (usable_cores(), None, 1)
    (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert found.memory == pytest.approx(1024 * int(line.split()[1]), rel=0.1)


def test_dead_nodes_have_nothing() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0, "memory": 8.0, "node:1": 1.0}},
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert total(nodes) == {"cpus": 6, "gpus": 1, "memory": 8, "nodes": 2}
    assert total([]) == {"cpus": 0, "gpus": 0, "memory": 0, "nodes": 0}


def test_a_cluster_that_does_not_answer_costs_its_time_limit() -> None:
    began_s = time.monotonic()
    assert ask_cluster("127.0.0.1:1", 1.0) is None
    assert time.monotonic() - began_s < 10
