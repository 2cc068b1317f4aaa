"""A cluster's autoscaler: whether there is one, and demand that it sees.

Ray has no public question for it. Every head that `ray start` starts also runs an autoscaler without nodes to bring,
which names each node by its id; a real one names nodes by the types of its own settings.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator

from infra.compute.units import Workers

# The key of the first autoscaler's report; the second has a call of its own.
_STATUS = b"__autoscaling_status"
_NODE_ID = re.compile(r"node_[0-9a-f]{56}")
_LIMIT_S = 5


def has_autoscaler() -> bool:
    """Tell whether the connected cluster can bring nodes by itself; False if Ray does not say."""
    with contextlib.suppress(Exception):  # private calls, which a later Ray may not have
        return are_types(_first()) or are_types(_second())
    return False


def are_types(names: Iterable[str]) -> bool:
    """Tell whether any name of a node's type is from an autoscaler's settings, and not made of the node's id."""
    return any(name and not _NODE_ID.fullmatch(name) for name in names)


def types_of_report(status: bytes | None) -> set[str]:
    """Return the types of nodes that are there or on their way, by the first autoscaler's report.

    Args:
        status: JSON; None without any.
    """
    report = json.loads(status).get("autoscaler_report") or {} if status else {}
    pending = [kind for _, kind, _ in report.get("pending_nodes", ())]
    known = (report.get("node_type_mapping") or {}).values()  # also of nodes that it has not heard from yet
    return {*known, *report.get("active_nodes", ()), *report.get("pending_launches", ()), *pending}


def _first() -> set[str]:
    from ray.experimental.internal_kv import _internal_kv_get

    return types_of_report(_internal_kv_get(_STATUS))


def _second() -> set[str]:
    """Return the types of the nodes if the second autoscaler reports; KubeRay names types without one too."""
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    reply = GetClusterStatusReply()
    reply.ParseFromString(internal_kv_get_gcs_client().get_cluster_status(timeout_s=_LIMIT_S))
    if not reply.autoscaling_state.autoscaler_state_version:
        return set()
    return {node.ray_node_type_name for node in reply.cluster_resource_state.node_states}


@contextlib.contextmanager
def demand(workers: Workers) -> Iterator[None]:
    """Ask for room for all workers at once in the block; the autoscaler sees it, and Ray forgets it with this driver.

    Args:
        workers: Their number must be known.
    """
    from ray.util import placement_group, remove_placement_group

    group = placement_group([dict(workers.each)] * workers.count, strategy="PACK")
    try:
        yield
    finally:
        remove_placement_group(group)
