"""The head of a cluster of this machine alone: a driver works on it, and nothing of it stays."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from infra.compute.head import Head, dashboard_lacks
from infra.compute.processes import Reaper
from infra.compute.reaper import VARIABLE, marked
from infra.compute.token import token_environment
from infra.server_process import ServerProcess
from tests.servers import free_ports

# Connects as a run does, and says where the work is done.
PROGRAM = """
import os
from infra.compute.answers import alive, ask_each
from infra.compute.cluster import Cluster
with Cluster(address=os.environ["RAY_ADDRESS"]) as cluster:
    cluster.connect()
    answers, silent = ask_each([node["NodeID"] for node in alive()], os.getpid)
    print(len(answers), len(silent), alive()[0]["NodeManagerAddress"])
"""


def test_what_the_dashboard_lacks_is_what_ray_misses_first() -> None:
    """Ray's own list of imports decides."""
    lacks = dashboard_lacks()
    program = "import ray.dashboard.optional_deps"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode != 0) == bool(lacks)
    if lacks:
        assert f"No module named '{lacks[0]}'" in done.stderr


def gets_work_done(environment: dict[str, str]) -> bool:
    """Tell whether a driver with these variables does; Ray may ask again and again for a token before it gives up."""
    try:
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.slow
def test_a_driver_works_on_it_and_nothing_stays(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="ddpm-"))  # short: Ray makes sockets below it
    head = Head(port=port, folder=folder, log=tmp_path / "ray.log")
    reaper = Reaper.start()
    assert reaper is not None
    token = token_environment()
    said: list[str] = []
    server = ServerProcess(
        head.program({VARIABLE: reaper.mark, "SPT_NOENV": "1"} | token), tmp_path / "ray.log", said.append
    )
    try:
        server.start()
        server.await_answer()
        assert len(list(marked(reaper.mark))) > 2
        environment = os.environ | token | head.variables
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.stdout.split() == ["1", "0", "127.0.0.1"], done.stderr
        without = environment | {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/dev/null"}
        assert not gets_work_done(without), "a driver without the token gets none"
    finally:
        server.stop()
        left = [process.name for process in marked(reaper.mark)]
        reaper.end()
        head.remove()
    assert left == [], "Ray ends its processes by itself"
    assert not folder.exists()
    assert said == []
