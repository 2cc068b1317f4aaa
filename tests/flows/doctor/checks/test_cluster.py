"""A cluster: away, not one, unlike, or with a node that does not see the root."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster as Machines

from flows.doctor.check import Check, Subject
from flows.doctor.checks import cluster
from flows.doctor.checks.nodes import faults
from flows.doctor.child import findings
from flows.doctor.finding import Finding, Level
from flows.doctor.node import Node, versions
from infra.errors import StorageError, error_to_json
from tests.hardware import CPU_NODE, H100_NODE
from tests.servers import free_ports

TOP = Path(__file__).parents[4]
DOCTOR = [sys.executable, "-c", "from flows.cli import main; main()", "doctor"]
HERE = {"Python": "3.11.7", "ray": "2.60.0", "numpy": "2.4", "ddpm-flows": "0.1.0, code 0123abcd"}
NODE = Node(hardware=CPU_NODE, versions=HERE, used=0.5, shared=None, files=65536)
FAULT = error_to_json(StorageError("does not see the root", item="/runs", remedy="mount it"))


def only(root: str = ".") -> Finding:
    (one,) = findings(Check(name="cluster", about="?", run=cluster.check), Subject(root=root))
    return one


@pytest.mark.parametrize(
    ("address", "exit_code", "says"),
    [
        ("", 0, "no cluster is named"),
        ("ray://head:10001", 2, "Ray Client connections break"),
        ("127.0.0.1:PORT", 7, "nothing answers there (Connection refused)"),
        ("no-port", 2, "is not of the form host:port"),
    ],
)
def test_an_address_that_leads_nowhere(
    address: str, exit_code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", address.replace("PORT", str(port)))
    one = only()
    assert (one.exit_code, says in one.cause) == (exit_code, True), str(one)


@pytest.mark.parametrize(
    ("node", "resources", "level", "says"),
    [
        (replace(NODE, versions=HERE | {"ray": "2.59.0"}), {"CPU": 1}, Level.WRONG, "ray 2.59.0 there, 2.60.0 here"),
        (replace(NODE, versions=HERE | {"ddpm-flows": "0.1.0, code 1"}), {"CPU": 1}, Level.WRONG, "code 1 there"),
        (
            replace(NODE, versions=HERE | {"numpy": "2.3"}),
            {"CPU": 1},
            Level.WARNING,
            "numpy 2.3 there, 2.4 here: bytes",
        ),
        (NODE, {"CPU": 1, "GPU": 1}, Level.WRONG, "offers 1 GPUs to Ray, and its torch sees none"),
        (replace(NODE, hardware=H100_NODE), {"CPU": 1}, Level.WARNING, "torch sees 1 GPUs there, and Ray may use 0"),
        (replace(NODE, fault=FAULT), {"CPU": 1}, Level.WRONG, "/runs: does not see the root - mount it"),
        (replace(NODE, fault=FAULT), {}, Level.WARNING, "does not see the root; it has no CPUs for work"),
        (replace(NODE, used=0.97), {"CPU": 1}, Level.WRONG, "97 % full"),
        (replace(NODE, shared=64 << 20), {"CPU": 1}, Level.WARNING, "/dev/shm has 64 MiB"),
        (replace(NODE, files=1024), {"CPU": 1}, Level.WARNING, "may open 1024 files only - ulimit -n 4096 there"),
    ],
)
def test_what_a_node_answers(node: Node, resources: dict[str, float], level: Level, says: str) -> None:
    (one,) = faults(node, resources, HERE, "node 10.0.0.2 (ab)")
    assert one.level is level
    assert says in str(one)
    assert str(one).startswith("node 10.0.0.2 (ab): ")


def test_a_node_that_is_well() -> None:
    assert list(faults(NODE, {"CPU": 8}, HERE, "node")) == []


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A head and two nodes; no process of the tests connects, so any mode of authentication does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        made = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=80 << 20)
            yield made
        finally:
            made.shutdown()


def doctor(machines: Machines, root: Path, **environment: str) -> tuple[int, list[str]]:
    """The exit code and the lines of `ddpm doctor` about a cluster."""
    variables = {"RAY_ADDRESS": machines.address, "RAY_AUTH_MODE": "disabled"} | environment
    done = subprocess.run(
        [*DOCTOR, "--only", "cluster", "--json", "--root", str(root)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=90,
    )
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == done.returncode
    return done.returncode, [str(Finding.from_json(one)) for one in answer["findings"]]


@pytest.mark.slow
def test_every_node_sees_a_root_with_a_relative_path(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TOP), os.environ.get("PYTHONPATH", "")]))
    code, lines = doctor(machines, Path("root"))
    assert code == 0, lines
    assert f"3 nodes answer, with 2 CPU and 0 GPU in all; all see {tmp_path / 'root'}" in lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder(machines: Machines, tmp_path: Path) -> None:
    """Its processes get another folder under the same path, in a namespace of mounts of their own."""
    root = tmp_path / "root"
    root.mkdir()
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a namespace of mounts needs root")
    start = (
        f"mount -t tmpfs none {root} && exec {sys.executable} -m ray.scripts.scripts start --block "
        f"--address={machines.address} --num-cpus=1 --object-store-memory={80 << 20}"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    blind = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", start],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_nodes(machines, 4)
        code, lines = doctor(machines, root)
    finally:
        blind.terminate()
        blind.wait(30)
    assert code == 4, lines
    (line,) = [line for line in lines if "does not see the root" in line]
    assert line.startswith("node ")
    assert "mount the folder there under the same path" in line
    assert list(root.iterdir()) == []


def _await_nodes(machines: Machines, count: int) -> None:
    import time

    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions

    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(machines.address, None, True, False))
    end = time.monotonic() + 60
    while sum(node["Alive"] for node in state.node_table()) < count:
        assert time.monotonic() < end
        time.sleep(0.5)


def test_versions_name_this_code() -> None:
    assert versions()["ddpm-flows"].startswith("0.1.0, code ")
