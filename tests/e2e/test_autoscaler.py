"""A real cluster that scales from zero, by the first of Ray's autoscalers: a node comes when work asks for it."""

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
    return {
        "cluster_name": "fake_multinode",
        "max_workers": 3,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "provider": {"type": "fake_multinode", "gcs_address": address, "launch_multiple": True},
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        "file_mounts_sync_continuously": False,
        **{name: {} for name in EMPTY},
        **{name: [] for name in NONE},
    }


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a head without processors."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    host = get_node_ip_address()
    (tmp_path / "autoscaler.yaml").write_text(json.dumps(settings_of(f"{host}:{port}")))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    variables = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
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


def test_a_node_comes_from_zero(address: str) -> None:
    lines: list[str] = []
    with Cluster(address=address, probe=answer_by_resource, patience_s=90) as cluster:
        cluster.connect()
        end = time.monotonic() + 30
        while not has_autoscaler() and time.monotonic() < end:
            time.sleep(0.5)
        assert has_autoscaler()
        assert cluster.nodes.device("auto", cpus=1, stage="train") == "cpu", "no node has a GPU yet"
        found = cluster.nodes.hold(Workers(gpus=1), stage="train", on_wait=lines.append)
        assert list(found.values()) == [H100_NODE]
        assert cluster.nodes.device("auto", cpus=1, stage="train") == "cuda"
        # Ray's provider for tests ends its autoscaler after the first node.
        (line,) = lines
        assert line.endswith("room for 1 workers of 1 CPU and 1 GPU each")
    with Cluster(address=address, patience_s=5) as cluster, pytest.raises(ResourceError, match="brought no room") as no:
        cluster.nodes.make_room(Workers(cpus=64), stage="train")
    assert no.value.exit_code == 7
