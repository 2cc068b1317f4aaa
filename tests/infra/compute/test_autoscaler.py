"""An autoscaler's reports, as Ray writes them, tell whether it brings nodes."""

import json

import pytest

from infra.compute.autoscaler import are_types, types_of_report

NODE = f"node_{'0f' * 28}"


def report(**parts: object) -> bytes:
    """The first autoscaler's report: the fields that tell types of nodes, and one that does not."""
    about = {"active_nodes": {}, "pending_nodes": [], "pending_launches": {}, "failed_nodes": [["10.0.0.9", "gpu"]]}
    return json.dumps({"time": 1.0, "autoscaler_report": about | parts}).encode()


@pytest.mark.parametrize(
    ("status", "types"),
    [
        (None, set()),
        (b'{"time": 1.0}', set()),
        (report(), set()),
        (report(active_nodes={NODE: 1}), {NODE}),
        (report(node_type_mapping=None), set()),
        (report(node_type_mapping={"10.0.0.1": "ray.head.default"}), {"ray.head.default"}),
        (report(active_nodes={"ray.head.default": 1}), {"ray.head.default"}),
        (report(pending_launches={"gpu": 2}), {"gpu"}),
        (report(pending_nodes=[["10.0.0.3", "gpu", "waiting-for-ssh"]]), {"gpu"}),
    ],
)
def test_the_types_of_a_report(status: bytes | None, types: set[str]) -> None:
    assert types_of_report(status) == types


@pytest.mark.parametrize(
    ("names", "found"),
    [([], False), ([NODE], False), (["", NODE], False), ([NODE, "gpu"], True), (["node_pool"], True)],
)
def test_a_node_named_by_its_id_is_nobodys_type(names: list[str], found: bool) -> None:
    """Every head that `ray start` starts runs an autoscaler that brings nothing."""
    assert are_types(names) is found
