"""A Ray cluster of two nodes on this machine, with the jobs server and token authentication."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.compute.head import HOST, Head
from infra.compute.processes import Reaper
from infra.compute.reaper import VARIABLE
from infra.compute.system import ray_temporary_folder
from infra.server_process import ServerProcess


@dataclass(frozen=True, kw_only=True)
class JobCluster:
    """A running cluster.

    Attributes:
        jobs: The address of its jobs server.
        token: The variables that carry its token.
        server: Its head.
    """

    jobs: str
    token: dict[str, str]
    server: ServerProcess


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


@contextmanager
def job_cluster(folder: Path, nodes: int = 2) -> Iterator[JobCluster]:
    """Start a cluster whose nodes see nothing but its own token."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port, dashboard = free_port(), free_port()
    name = f"ddpm-jobs-{secrets.token_hex(4)}"
    head = Head(
        port=port,
        folder=ray_temporary_folder() / name,
        log=folder / "head.log",
        dashboard_port=dashboard,
        client_port=free_port(),
    )
    reaper = Reaper.start(grace_s=0)
    assert reaper is not None
    mark = {VARIABLE: reaper.mark, "SPT_NOENV": "1"}
    server = ServerProcess(head.program(mark | token), head.log, print)
    others: list[subprocess.Popen[bytes]] = []
    try:
        server.start()
        server.await_answer()
        for number in range(nodes - 1):
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head.address}", "--block"]
            command += [f"--node-ip-address={HOST}", "--num-cpus=2", "--object-store-memory=83886080"]
            command += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
            with (folder / f"node-{number}.log").open("wb") as log:
                others.append(
                    subprocess.Popen(
                        command,
                        env=os.environ | head.program(mark | token).environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield JobCluster(jobs=f"http://{HOST}:{dashboard}", token=token, server=server)
    finally:
        for node in others:
            node.kill()
        server.stop()
        reaper.end()
        for node in others:
            node.wait(30)
        head.remove()
