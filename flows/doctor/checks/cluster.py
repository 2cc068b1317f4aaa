"""The Ray cluster at RAY_ADDRESS: reached, and each of its nodes asked what it has and whether it sees the root."""

import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from flows.doctor.check import Subject
from flows.doctor.checks.nodes import faults
from flows.doctor.finding import Finding, doubt, fine, wrong
from flows.doctor.node import Node, Question, read_soon, versions
from flows.runtime.connections import cluster_address
from infra.compute.answers import alive, ask_each
from infra.compute.cluster import Cluster
from infra.errors import ConfigError, DdpmError, ResourceError, StorageError
from infra.storage.trial import Trial, trial

_CONNECT_S, _ANSWER_S = 5.0, 25.0
_RESOLVED_BY_RAY = ("auto", "local")


def check(subject: Subject) -> Iterator[Finding]:
    """Connect as a run does, and ask all nodes at once."""
    address = cluster_address()
    if address is None:
        yield fine("no cluster is named: each run starts a Ray of its own", item="RAY_ADDRESS")
        return
    _reach(address)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(address=address))
        cluster.connect()
        token = uuid.uuid4().hex
        tried = _begun(stack, subject.root, token)
        nodes = {node["NodeID"]: node for node in alive()}
        # A relative root would be another folder on each node.
        root, folder = (tried.store.uri, tried.folder) if tried else ("", "")
        answers, silent = ask_each(nodes, Question(root=root, folder=folder, token=token), _ANSWER_S)
        found = [*_silences(nodes, silent), *_judged(nodes, answers, tried, token)]
    yield from found
    if not any(one.exit_code for one in found):
        seen = root if root and not any(answer["fault"] for answer in answers.values()) else ""
        yield fine(_summary(nodes, seen), item=f"RAY_ADDRESS {address}")


def _reach(address: str) -> None:
    """Connect to the port of the cluster's head: Ray itself would wait for a minute."""
    if address in _RESOLVED_BY_RAY:
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S):
            pass
    except ValueError as error:
        raise ConfigError("is not of the form host:port", item=f"RAY_ADDRESS {address}", remedy="correct it") from error
    except OSError as error:
        raise ResourceError(
            f"nothing answers there ({error.strerror or error})",
            item=f"RAY_ADDRESS {address}",
            remedy="start the cluster, correct the address, or unset it for a local Ray",
        ) from error


def _begun(stack: ExitStack, root: str, token: str) -> Trial | None:
    """Begin a trial of the root with an object of this machine; None if it cannot use it, which is its own check."""
    try:
        tried = stack.enter_context(trial(root))
        tried.store.put_if_absent(f"{tried.folder}/driver", token.encode())
    except DdpmError:
        return None
    return tried


def _silences(nodes: Mapping[str, Mapping[str, Any]], silent: Mapping[str, str]) -> Iterator[Finding]:
    there = {node["NodeID"] for node in alive()}
    for number, cause in silent.items():
        if number in there:
            yield wrong(
                ResourceError(
                    f"does not answer ({cause})",
                    item=name_of(nodes[number]),
                    remedy="install the same version of this package there, or take the node away",
                )
            )
        else:
            yield doubt("went away meanwhile", item=name_of(nodes[number]))


def _judged(
    nodes: Mapping[str, Mapping[str, Any]], answers: Mapping[str, Any], tried: Trial | None, token: str
) -> Iterator[Finding]:
    here = versions()
    for number, answer in answers.items():
        node, record = Node.from_json(answer), nodes[number]
        yield from faults(node, record["Resources"], here, name_of(record))
        if tried and not node.fault and read_soon(tried.store, f"{tried.folder}/{number}") != token.encode():
            yield wrong(
                StorageError(
                    "wrote an object below the root, and this machine does not see it",
                    item=name_of(record),
                    remedy="mount one and the same folder on all nodes, or take an s3:// root",
                )
            )


def _summary(nodes: Mapping[str, Mapping[str, Any]], root: str) -> str:
    sums = {kind: sum(node["Resources"].get(kind, 0) for node in nodes.values()) for kind in ("CPU", "GPU")}
    seen = f"; all see {root}" if root else ""
    plural = "s answer" if len(nodes) > 1 else " answers"
    return f"{len(nodes)} node{plural}, with {' and '.join(f'{n:g} {kind}' for kind, n in sums.items())} in all{seen}"


def name_of(node: Mapping[str, Any]) -> str:
    """Return the name of a node in lines: its address, and the start of its id, since two may share an address."""
    return f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})"
