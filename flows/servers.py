"""Prefect, MLflow and Ray on this machine for as long as a command lives, and the variables that lead to them."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256

from flows.root import tracking_place, writing_locally
from flows.runtime.connections import cluster_address
from infra.compute.head import HOST, Head, dashboard_lacks
from infra.compute.processes import Reaper
from infra.compute.reaper import VARIABLE
from infra.compute.system import ray_temporary_folder
from infra.compute.token import token_environment
from infra.errors import ResourceError
from infra.server_process import Program, ServerProcess
from infra.services.mlflow.server import mlflow_program, server_url
from infra.services.prefect.api import PrefectApi, prefect_api
from infra.services.prefect.settings import environment_variables
from infra.services.standing import Claim, Standing
from infra.tracking.pages import shown

Say = Callable[[str], None]
_YOURS = "yours, as your variables say"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of the servers on this machine."""

    prefect: int
    mlflow: int
    ray: int
    dashboard: int


@dataclass(kw_only=True)
class _Site:
    """The servers beside Prefect: those that are started, and what other commands need to know.

    Attributes:
        root: The root of all outputs.
        claimed: The claim on its servers.
        mark: The variables that mark our processes.
        say: Receives lines for the terminal.
        started: The servers.
        pages: Where each is.
        variables: The variables that lead to them.
    """

    root: str
    claimed: Claim
    mark: dict[str, str]
    say: Say
    started: list[ServerProcess] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def add_ray(self, stack: ExitStack, ports: Ports) -> None:
        """Start Ray, unless RAY_ADDRESS names a cluster."""
        if address := cluster_address():
            self.pages["Ray"] = f"{address}  {_YOURS}"
            return
        missing = dashboard_lacks()
        if missing:
            self.say(f'Ray starts without its dashboard: no {missing[0]}; pip install "ray[default]" brings it')
        _claim(ports.ray, "--ray-port")
        if not missing:
            _claim(ports.dashboard, "--dashboard-port")
        name = sha256(self.root.encode()).hexdigest()[:8]
        head = Head(
            port=ports.ray,
            folder=ray_temporary_folder() / f"ddpm-up-{name}",
            log=self.claimed.folder / "ray.log",
            dashboard_port=None if missing else ports.dashboard,
            client_port=None if missing else _free_port(),
        )
        token = token_environment()
        stack.callback(head.remove)
        self._start(stack, head.program(self.mark | token), "ray.log")
        self.variables |= head.variables | token
        self.pages["Ray"] = head.address
        if not missing:
            where = f"  its token is in {token['RAY_AUTH_TOKEN_PATH']}" if token else ""
            self.pages["dashboard"] = f"http://{HOST}:{ports.dashboard}{where}"

    def add_mlflow(self, stack: ExitStack, ports: Ports) -> None:
        """Start MLflow before the database that runs of this root use, unless MLFLOW_TRACKING_URI names a server."""
        uri, folder = tracking_place(self.root)
        if folder is None:
            self.pages["MLflow"] = f"{shown(uri)}  {_YOURS}"
            return
        _claim(ports.mlflow, "--mlflow-port")
        with writing_locally(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        self._start(stack, mlflow_program(uri, folder / "mlartifacts", ports.mlflow, self.mark), "mlflow.log")
        self.pages["MLflow"] = self.variables["MLFLOW_TRACKING_URI"] = server_url(ports.mlflow)

    def _start(self, stack: ExitStack, program: Program, log: str) -> None:
        server = ServerProcess(program, self.claimed.folder / log, self.say)
        stack.callback(server.stop)
        self.say(f"starting {program.name}")
        server.start()
        self.started.append(server)

    def await_answers(self) -> None:
        """Wait until each server that was started answers."""
        while self.started:
            server = self.started.pop(0)
            self.say(f"waiting for {server.program.name}, at most {server.program.start_limit_s:g} s")
            server.await_answer()


@contextmanager
def servers_up(root: str, claimed: Claim, ports: Ports, say: Say) -> Iterator[tuple[PrefectApi, Standing]]:
    """Provide the three servers, each of its own or the one that the user's variables name.

    The variables that lead to them are set meanwhile, so that runs of deployments use them. At the end Prefect ends
    first, then MLflow, then Ray.

    Args:
        root: The root of all outputs.
        claimed: The claim on its servers.
        ports: The ports of those that are started.
        say: Receives lines for the terminal.

    Raises:
        ResourceError: If a port is taken, or a server does not start.
        ConflictError: If another process has this root's Prefect server.
        StorageError: If a Prefect server that the user's settings name does not answer.
    """
    with ExitStack() as stack:
        reaper = Reaper.start()
        if reaper is not None:
            stack.callback(reaper.end)
        mark = reaper.mark if reaper is not None else uuid.uuid4().hex
        standing = Standing(pid=os.getpid(), mark=mark)
        stack.callback(claimed.clear)
        claimed.write(standing)
        # The second keeps the mark legible: Ray's agents overwrite their environment by their titles.
        site = _Site(root=root, claimed=claimed, mark={VARIABLE: mark, "SPT_NOENV": "1"}, say=say)
        site.add_ray(stack, ports)
        site.add_mlflow(stack, ports)
        stack.enter_context(environment_variables(site.variables))
        say("starting Prefect")
        api = stack.enter_context(
            prefect_api(root, port=ports.prefect, serve=True, say=say, meanwhile=site.await_answers)
        )
        site.await_answers()
        if api.server is not None:
            site.variables["PREFECT_API_URL"] = api.url
        page = api.ui if api.server is not None else f"{api.ui}  {_YOURS}"
        ready = replace(standing, pages={"Prefect": page, **site.pages}, variables=site.variables, is_ready=True)
        claimed.write(ready)
        yield api, ready


def _claim(port: int, option: str) -> None:
    """Refuse a port that another program has.

    Raises:
        ResourceError: If it has it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise ResourceError(
                "is taken by another program", item=f"port {port}", remedy=f"choose another with {option}"
            ) from error


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
