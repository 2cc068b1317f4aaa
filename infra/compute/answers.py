"""The nodes of a Ray cluster: those that can hold a worker, and each one's own answer about its hardware."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from infra.compute.hardware import Hardware
from infra.compute.ray_errors import first_line, last_line
from infra.compute.units import Workers, fits
from infra.errors import ResourceError

# Returns the hardware of the machine that calls it; importable on every node.
Probe = Callable[[], Hardware]
# For all nodes together.
LIMIT_S = 30.0


def holding(workers: Workers) -> list[str]:
    """Return the ids of the nodes that could hold such a worker if nothing else were running there, sorted."""
    return sorted(node["NodeID"] for node in alive() if fits(node["Resources"], workers))


def alive() -> list[dict[str, Any]]:
    """Return Ray's records of the nodes that are there."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def this_node() -> str:
    """Return the id of the node that this process works on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def ask(nodes: Collection[str], probe: Probe | None, stage: str, limit_s: float = LIMIT_S) -> dict[str, Hardware]:
    """Return the hardware of nodes by their ids; nodes that are gone by then are left out.

    Args:
        nodes: The nodes' ids.
        probe: Runs on each node; None for what torch finds there.
        stage: For error lines.
        limit_s: Time for all answers together.

    Raises:
        ResourceError: If a node does not answer.
    """
    answers, silent = ask_each(nodes, partial(_hardware, probe), limit_s)
    for node in alive():
        if cause := silent.get(node["NodeID"]):
            raise ResourceError(
                f"does not say what it has ({cause})",
                item=f"node {node['NodeManagerAddress']}",
                stage=stage,
                remedy="install the same version of this package there, or take the node away",
            )
    return {name: Hardware.from_json(answer) for name, answer in answers.items()}


def ask_each(
    nodes: Collection[str], question: Callable[[], Any], limit_s: float = LIMIT_S
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the answers of nodes to a question by their ids, and why the others did not answer.

    The tasks take neither CPUs nor GPUs, so they do not wait for nodes that others keep busy.

    Args:
        nodes: The nodes' ids.
        question: Runs on each node; importable there.
        limit_s: Time for all answers together.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for name in nodes:
        there = NodeAffinitySchedulingStrategy(name, soft=False)
        # One call per process: it would keep what it holds of a GPU.
        task = ray.remote(num_cpus=0, max_calls=1, max_retries=0, scheduling_strategy=there)(_answer)
        asked[task.remote(question)] = name
    ready, late = ray.wait(list(asked), num_returns=max(len(asked), 1), timeout=limit_s) if asked else ([], [])
    answers, silent = {}, {asked[one]: f"no answer within {limit_s:g} s" for one in late}
    for one in ready:
        try:
            answers[asked[one]] = ray.get(one)
        except RayError as error:
            # What a task raised is the last line of Ray's account of it.
            silent[asked[one]] = last_line(error) if isinstance(error, RayTaskError) else first_line(error)
    for one in late:
        ray.cancel(one, force=True)
    return answers, silent


def _answer(question: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON values
    return question()


def _hardware(probe: Probe | None) -> dict[str, Any]:
    from infra.compute.probe import probe_node

    return (probe or probe_node)().as_json()
