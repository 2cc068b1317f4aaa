"""The runner that works off the runs of deployments until it is stopped."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.runner import Runner
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_RUNNER_POLL_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Cancelling

from infra.errors import StorageError
from infra.services.prefect.client import prompt_client
from infra.services.prefect.deployments import ServedDeployment
from infra.services.prefect.run.stops import SERVER_VARIABLE

_STOP_LIMIT_S = 45.0
_POLL_S = 0.5
_WATCH_S = 5.0
_REMINDER_S = 1800.0
# Doubling from two seconds, these bridge an outage of a quarter of an hour; the work itself goes on meanwhile.
_RETRIES = 8
_AT_CAPACITY = re.compile(r"\d+ scheduled runs skipped \(at capacity\)")


class ServingRunner:
    """Prefect's runner in a thread of its own.

    The terminal's Ctrl-C goes to every process of its group: the thread, and so its children, block SIGINT, and are
    stopped by `stop` alone, one after the other and with time to save.

    Args:
        deployments: The deployments to serve.
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
        """Return after a while, or raise if the runner has ended.

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
        """Mark runs as cancelled that nobody will end: cancelling, but paused before or lost with their server.

        Only for a server with no other runner of these deployments.
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
    """Says once that runs wait for the one that works; Prefect's runner repeats it every ten seconds."""

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
