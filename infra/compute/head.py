"""The head of a Ray cluster of this machine alone, in processes of its own, for as long as a command lives.

By Ray's own command line, since that is the one public way to start a head that other processes connect to. Its folder
is not Ray's usual one, whose file `ray_current_cluster` would lead the user's other programs here.
"""

import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.compute.connection import OBJECT_STORE_BYTES
from infra.compute.cores import usable_cores
from infra.server_process import Program
from infra.storage.aside import own_state

HOST = "127.0.0.1"
# How long processes of an earlier start may still write into its folder.
_LEFT_S, _LOOK_S = 10.0, 0.1
# The modules that Ray's dashboard looks for first; `ray[default]` installs them.
_DASHBOARD = ("aiohttp", "aiohttp_cors", "opencensus", "opentelemetry.exporter.prometheus", "prometheus_client", "grpc")
# Ray takes this machine's own address for the one that others reach it by, in the head and in every driver, unless it
# is on a system where it knows no clusters. The variable makes any system such a one.
_LOCAL_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_STARTED = b"Ray runtime started."
_LIMIT_S = 5.0
# It drains its node first, for half a minute at most.
_STOP_LIMIT_S = 40.0


def dashboard_lacks() -> list[str]:
    """Return the modules that are missing for Ray's dashboard and its jobs."""
    return [name for name in _DASHBOARD if not _is_there(name)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head.

    Attributes:
        port: The port that drivers connect to.
        folder: Ray's own files; removed with the head.
        log: The log that the program writes to.
        dashboard_port: The dashboard's port; None for no dashboard.
        client_port: A free port for Ray's client server, which starts wherever its packages are installed.
    """

    port: int
    folder: Path
    log: Path
    dashboard_port: int | None = None
    client_port: int | None = None

    @property
    def address(self) -> str:
        """The address for RAY_ADDRESS."""
        return f"{HOST}:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """The variables that lead drivers to it, beside those of Ray's token."""
        return {"RAY_ADDRESS": self.address, **_LOCAL_ONLY}

    def program(self, environment: Mapping[str, str]) -> Program:
        """Return its program.

        Args:
            environment: Further variables, such as those of Ray's token.
        """
        dashboard: tuple[str, ...] = ("--include-dashboard=false",)
        if self.dashboard_port is not None:
            dashboard = (
                "--include-dashboard=true",
                f"--dashboard-host={HOST}",
                f"--dashboard-port={self.dashboard_port}",
            )
        client = (f"--ray-client-server-port={self.client_port}",) if self.client_port and _is_there("grpc") else ()
        return Program(
            name="Ray",
            command=(
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
                *(f"--port={self.port}", f"--node-ip-address={HOST}", f"--temp-dir={self.folder / 'ray'}"),
                *(f"--num-cpus={usable_cores()}", f"--object-store-memory={OBJECT_STORE_BYTES}"),
                *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
                *(*dashboard, *client),
            ),
            environment={
                "RAY_USAGE_STATS_ENABLED": "0",
                # A job is a command that it finds there: that of this installation.
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
                "PYTHONUNBUFFERED": "1",
                **_LOCAL_ONLY,
                "RAY_prestart_worker_first_driver": "0",
                **environment,
            },
            before=self._clear,
            answers=self._answers,
            stop_limit_s=_STOP_LIMIT_S,
        )

    def remove(self) -> None:
        """Remove its files, once its processes have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _clear(self) -> None:
        """Take away what an earlier start wrote, and make the folder for this user alone."""
        end = time.monotonic() + _LEFT_S
        self.remove()
        while self.folder.exists() and time.monotonic() < end:  # what is left of an earlier start still writes there
            time.sleep(_LOOK_S)
            self.remove()
        with own_state(self.folder, "set RAY_TMPDIR to a folder of yours that can be written"):
            self.folder.mkdir(mode=0o700, parents=True)
        with suppress(FileNotFoundError):
            self.log.write_bytes(b"")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), _LIMIT_S):
                return _STARTED in self.log.read_bytes()
        except OSError:
            return False
