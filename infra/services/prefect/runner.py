"""Deployments of a flow, and the runner that works off their runs until it is told to stop.

A deployment belongs to whoever uses the pages: its schedules, whether it is paused and the parameters that were changed
survive a restart. What is ours - entry point, form, description - is brought up to date.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_RUNNER_POLL_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Cancelling
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema

from infra.errors import StorageError
from infra.services.prefect.run import SERVER_VARIABLE, prompt_client

# A deployment that `serve` paused at its end carries it, so that the next start knows it from one that a user paused.
PAUSED_TAG = "paused-while-not-served"
_STOP_LIMIT_S = 45.0
_POLL_S = 0.5
_WATCH_S = 5.0
_REMINDER_S = 1800.0
# Doubling from two seconds, these bridge an outage of a quarter of an hour; the work itself goes on meanwhile.
_RETRIES = 8
_AT_CAPACITY = re.compile(r"\d+ scheduled runs skipped \(at capacity\)")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One entry of the list of deployments.

    Attributes:
        name: Its name.
        description: What it does.
        parameters: Given to every run that names no others.
        schema: JSON schema of the form.
        tags: For filtering.
        accepts: Tells whether parameters that a user changed still fit; those of an older version may not.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    schema: dict[str, Any]
    tags: Sequence[str]
    accepts: Callable[[dict[str, Any]], bool]


def register(flow: Flow[..., Any], deployment: Deployment) -> "ServedDeployment":
    """Create the deployment, or bring one that exists up to date."""
    made = flow.to_deployment(
        name=deployment.name,
        parameters=deployment.parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=deployment.description,
        tags=list(deployment.tags),
    )
    assert isinstance(made, RunnerDeployment), "to_deployment is synchronous outside an event loop"
    made._parameter_openapi_schema = ParameterSchema(**deployment.schema)
    with get_client(sync_client=True) as client:
        try:
            known = client.read_deployment_by_name(f"{flow.name}/{deployment.name}")
        except ObjectNotFound:
            number = made.apply()
        else:
            number = known.id
            _update(client, known, made, deployment)
    return ServedDeployment(name=deployment.name, flow_name=flow.name, number=number)


def _update(
    client: SyncPrefectClient, known: DeploymentResponse, made: RunnerDeployment, deployment: Deployment
) -> None:
    """Change what is ours and no more: a schedule that is not named here stays as it is."""
    kept = dict(known.parameters or {})
    if not deployment.accepts(kept | deployment.parameters):
        logger.warning("deployment %s: parameters of an older version were reset", deployment.name)
        kept = {}
    changes: dict[str, Any] = {
        "description": deployment.description,
        "entrypoint": made.entrypoint,
        "parameter_openapi_schema": deployment.schema,
        "parameters": kept | deployment.parameters,
        "tags": sorted({*(tag for tag in known.tags if tag != PAUSED_TAG), *deployment.tags}),
    }
    changes["paused"] = known.paused and PAUSED_TAG not in known.tags
    # The pages' way to pause deletes what was planned for the time in which nothing served, as cron skips it; the
    # client's way leaves what is late by now.
    client.request("POST", "/deployments/{id}/pause_deployment", path_params={"id": known.id})
    client.update_deployment(known.id, DeploymentUpdate(**changes))


class ServedDeployment(RunnerDeployment):
    """A deployment as `register` left it: the runner, which registers what it is given, leaves it so."""

    number: UUID

    async def aapply(self, *_: object, **__: object) -> UUID:
        """Return the id."""
        return self.number


def pause(deployments: Sequence[ServedDeployment]) -> None:
    """Pause what is active, since nobody serves it now; its mark tells the next start to make it active again."""
    with get_client(sync_client=True) as client:
        for deployment in deployments:
            try:
                known = client.read_deployment(deployment.number)
            except ObjectNotFound:  # somebody deleted it
                continue
            if not known.paused:
                client.update_deployment(known.id, DeploymentUpdate(tags=sorted({*known.tags, PAUSED_TAG})))
                client.pause_deployment(known.id)


class ServingRunner:
    """Prefect's runner in a thread of its own.

    The terminal's Ctrl-C goes to every process of its group: the thread, and so its children, block SIGINT, and are
    stopped by `stop` alone, one after the other and with time to save.

    Args:
        deployments: What is served.
        limit: Runs at a time.
        say: Called with lines for the terminal.
        waiting: The line to say if a run waits because the limit is reached.
    """

    def __init__(
        self, deployments: Sequence[ServedDeployment], limit: int, say: Callable[[str], None], *, waiting: str
    ) -> None:
        self._deployments, self._limit, self._say, self._waiting = deployments, limit, say, waiting
        self._thread = threading.Thread(target=self._run, name="prefect-runner", daemon=True)
        self._runner: Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._ready, self._done = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to look for runs."""
        os.environ[SERVER_VARIABLE] = str(os.getpid())
        self._thread.start()
        self._ready.wait(_STOP_LIMIT_S)

    def watch(self) -> None:
        """Return after a while, or raise what ended the runner.

        Raises:
            StorageError: If the API was away for longer than the runner waits.
        """
        # An event: a signal's exception in the middle of `join` makes Python take the thread for ended (bpo-45274).
        if self._done.wait(_WATCH_S):
            why = f" ({self._error})" if self._error else ""
            raise StorageError(
                f"the Prefect server is away for too long{why}",
                item="ddpm serve",
                remedy="start it, then `ddpm serve` again: runs go on from what is kept",
            )

    def stop(self) -> None:
        """Cancel the runs as their pages would, each with time to save, then end the runner."""
        if self._runner is None or self._loop is None or self._done.is_set():
            return
        with contextlib.suppress(Exception):  # a server that is away; the runner ends its processes all the same
            self._cancel_runs()
        asyncio.run_coroutine_threadsafe(self._runner.astop(), self._loop)
        self._done.wait(_STOP_LIMIT_S)

    def _cancel_runs(self) -> None:
        """Cancel the runs that have a process here, and wait until they are."""
        end = time.monotonic() + _STOP_LIMIT_S
        asked: set[UUID] = set()
        with prompt_client() as client:
            while (working := self._working()) and time.monotonic() < end:
                for run in (client.read_flow_run(number) for number in working - asked):
                    asked.add(run.id)
                    self._say(f"stopping {run.name}: it saves what it has")
                    client.set_flow_run_state(run.id, Cancelling(message="ddpm serve was stopped"), force=True)
                time.sleep(_POLL_S)  # the runner reports no end of a process; bounded by _STOP_LIMIT_S

    def finish_cancelling(self) -> None:
        """Call cancelled what is being cancelled and has no process: one that was paused, or lost with its server.

        Only for a server that nobody else serves.
        """
        which = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.number for deployment in self._deployments]))
        cancelling = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
        with contextlib.suppress(Exception), prompt_client() as client:  # another look follows
            for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=cancelling), deployment_filter=which):
                if run.id not in self._working():
                    client.set_flow_run_state(run.id, Cancelled(message="It had no process."), force=True)

    def _working(self) -> set[UUID]:
        """The runs that have a process here."""
        assert self._runner is not None, "the runner was not started"
        return self._runner._process_manager.flow_run_ids()  # Prefect has no public name for it

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: _RETRIES, PREFECT_RUNNER_POLL_FREQUENCY: 3}):
                asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            os.environ.pop(SERVER_VARIABLE, None)
            self._ready.set()
            self._done.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = Runner(name="ddpm", limit=self._limit, pause_on_shutdown=False)
        lines, capacity = logging.getLogger("prefect.runner"), _Capacity(self._say, self._waiting)
        lines.addFilter(capacity)
        try:
            for deployment in self._deployments:
                await self._runner.aadd_deployment(deployment)
            self._ready.set()
            await self._runner.start()
        finally:
            lines.removeFilter(capacity)


class _Capacity(logging.Filter):
    """Says once what Prefect's runner repeats every ten seconds: runs wait for the one that works."""

    def __init__(self, say: Callable[[str], None], waiting: str) -> None:
        super().__init__()
        self._say, self._waiting, self._last = say, waiting, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not _AT_CAPACITY.fullmatch(record.getMessage()):
            return True
        now = time.monotonic()
        if now - self._last > _REMINDER_S or not self._last:
            self._last = now
            self._say(self._waiting)
        return False
