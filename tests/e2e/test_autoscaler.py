"""A real cluster that scales from zero, by either of Ray's autoscalers: nodes come as work asks for them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.util import get_node_ip_address

from infra.compute.autoscaler import has_autoscaler
from infra.compute.cluster import Cluster
from infra.compute.processes import Reaper
from infra.compute.units import Workers
from infra.errors import ResourceError
from tests.hardware import H100_NODE, answer_by_resource

# The provider knows the head by it, and the second autoscaler ends nodes that the provider does not know.
HEAD = "f" * 51 + "00000"
VARIABLES = {
    "first": {},
    "second": {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    },
}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the reaper reads /proc")]

EMPTY = ("file_mounts", "docker", "auth")
NONE = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands", "rsync_exclude")
NONE += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_filter")


def settings_of(address: str) -> dict[str, object]:
    """The settings of an autoscaler whose nodes are processes of this machine; its provider is Ray's, for tests."""

    def kind(most: int, **resources: int) -> dict[str, object]:
        return {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": most}

    types = {
        "ray.head.default": kind(0, CPU=0),
        "processors": kind(2, CPU=2, object_store_memory=80 << 20),
        "gpus": kind(1, CPU=1, GPU=1, h100=1, object_store_memory=80 << 20),
    }
    provider = {
        # As an external one, because its own type reads a file that Ray's wheel does not have, which ends the monitor.
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": HEAD,
        "launch_multiple": True,
        "disable_node_updaters": True,  # because nobody can log in to these nodes
    }
    return {
        "cluster_name": "fake_multinode",
        "max_workers": 3,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "provider": provider,
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        "file_mounts_sync_continuously": False,
        **{name: {} for name in EMPTY},
        **{name: [] for name in NONE},
    }


@pytest.fixture(params=VARIABLES)
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a head without processors, with one of the autoscalers."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    host = get_node_ip_address()
    (tmp_path / "autoscaler.yaml").write_text(json.dumps(settings_of(f"{host}:{port}")))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    variables = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    variables |= VARIABLES[request.param]
    reaper = Reaper.start(grace_s=0)
    assert reaper is not None
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=0", "--num-gpus=0", "--include-dashboard=false", f"--node-ip-address={host}"]
    command += [f"--autoscaling-config={tmp_path / 'autoscaler.yaml'}", "--object-store-memory=83886080"]
    with (tmp_path / "log").open("wb") as log, reaper.marking():
        process = subprocess.Popen(
            command, env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _await_port(host, port, process, tmp_path / "log")
        yield f"{host}:{port}"
    finally:
        process.kill()  # the reaper ends the others
        reaper.end()
        process.wait(30)
        current = Path("/tmp/ray/ray_current_cluster")  # what others would connect to by default
        if current.exists() and current.read_text().strip() == f"{host}:{port}":
            current.unlink()


def _await_port(host: str, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())


def test_nodes_come_from_zero(address: str) -> None:
    lines: list[str] = []
    with Cluster(address=address, probe=answer_by_resource, patience_s=90) as cluster:
        cluster.connect()
        end = time.monotonic() + 30
        while not has_autoscaler() and time.monotonic() < end:
            time.sleep(0.5)
        assert has_autoscaler()
        assert cluster.nodes.device("auto", cpus=1, stage="train") == "cpu", "no node has a GPU yet"
        with_gpu = cluster.nodes.hold(Workers(gpus=1), stage="train", on_wait=lines.append)
        assert list(with_gpu.values()) == [H100_NODE]
        assert cluster.nodes.device("auto", cpus=1, stage="train") == "cuda"
        wide = cluster.nodes.hold(Workers(cpus=2), stage="sample", on_wait=lines.append)
        assert len(wide) == 1
        assert wide.keys().isdisjoint(with_gpu), "a node of another type came for it"
        first, second = lines
        assert first.endswith("room for 1 workers of 1 CPU and 1 GPU each")
        assert second.endswith("room for 1 workers of 2 CPU each")
    # No type of node has 64 processors, so nothing comes.
    with Cluster(address=address, patience_s=5) as cluster, pytest.raises(ResourceError, match="brought no room") as no:
        cluster.nodes.make_room(Workers(cpus=64), stage="train")
    assert no.value.exit_code == 7
