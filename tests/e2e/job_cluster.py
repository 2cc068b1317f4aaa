"""A Ray cluster of two nodes on this machine, with the jobs server and token authentication."""

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.compute.head import HOST, Head
from infra.compute.processes import Reaper
from infra.compute.reaper import VARIABLE
from infra.compute.system import ray_temporary_folder
from infra.server_process import ServerProcess
from tests.servers import free_ports


@dataclass(frozen=True, kw_only=True)
class JobCluster:
    """A running cluster.

    Attributes:
        url: The address of its jobs server.
        token: The variables that carry its token.
    """

    url: str
    token: dict[str, str]

    def jobs(self, title: str) -> list[dict[str, Any]]:
        """The jobs whose ids start so, the first one first."""
        header = {"Authorization": f"Bearer {self.token['RAY_AUTH_TOKEN']}"}
        request = urllib.request.Request(f"{self.url}/api/jobs/", headers=header)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = [job for job in json.load(answer) if (job["submission_id"] or "").startswith(title)]
        return sorted(found, key=lambda job: job["start_time"])


@contextmanager
def job_cluster(folder: Path) -> Iterator[JobCluster]:
    """Start a cluster whose nodes take nobody without its token, as `ddpm up` starts its head."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port, dashboard, client = free_ports(3)
    head = Head(
        port=port,
        folder=ray_temporary_folder() / f"ddpm-jobs-{secrets.token_hex(4)}",
        log=folder / "head.log",
        dashboard_port=dashboard,
        client_port=client,
    )
    reaper = Reaper.start(grace_s=0)
    assert reaper is not None
    program = head.program({VARIABLE: reaper.mark, "SPT_NOENV": "1"} | token)
    server = ServerProcess(program, head.log, print)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head.address}", "--block"]
    command += [f"--node-ip-address={HOST}", "--num-cpus=2", "--object-store-memory=83886080"]
    command += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
    other = None
    try:
        server.start()
        server.await_answer()
        with (folder / "node.log").open("wb") as log:
            environment = os.environ | dict(program.environment)
            other = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        yield JobCluster(url=f"http://{HOST}:{dashboard}", token=token)
    finally:
        if other is not None:
            other.kill()
        server.stop()
        reaper.end()
        if other is not None:
            other.wait(30)
        head.remove()
