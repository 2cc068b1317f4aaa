"""The Prefect run that this process works for: its name, its page, and whether it is still meant to run.

Everything here is said beside the work, by a thread of its own: an API that is away costs one warning, never the work.
"""

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, MissingContextError, ObjectNotFound, Pause
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_UI_URL, get_current_settings, temporary_settings
from prefect.states import Cancelled, Crashed

from infra.errors import DdpmError
from infra.processes import end_with_parent

_LOOK_S = 3.0
# The runner of a deployment stops its process by itself; whoever has no runner is stopped by us.
_CANCELLING_LOOKS = 4
_RETURN_POLL_S = 2.0
# Holds the process id of the `ddpm serve` whose runs inherit it.
SERVER_VARIABLE = "DDPM_SERVED_BY"
_AT_WORK = (StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED)
_STOPPED = (StateType.CANCELLING, StateType.CANCELLED, StateType.PAUSED)
_STOP_SIGNAL = signal.SIGUSR1

logger = logging.getLogger(__name__)


class RunAborted(Abort, SystemExit):
    """The run was cancelled, deleted or ended by somebody else; a SystemExit, so that Ray's waits let it through."""


class RunPaused(Pause, SystemExit):
    """The run was paused: this process ends, and another goes on when somebody resumes the run."""


class PrefectRun:
    """One flow run, seen from its own process.

    Args:
        flow_run: As the server knows it.
        look_s: How often its state is looked at.
    """

    def __init__(self, flow_run: FlowRun, look_s: float = _LOOK_S) -> None:
        self.id, self._flow_run, self._look_s = flow_run.id, flow_run, look_s
        self._jobs: queue.SimpleQueue[Callable[[SyncPrefectClient], object]] = queue.SimpleQueue()
        self._progress: dict[str, tuple[float, str]] = {}
        self._artifacts: dict[str, UUID] = {}
        self._verdict: BaseException | None = None
        self._cancelling = 0
        self._ended = threading.Event()
        self._away = self._can_stop = False

    @classmethod
    def current(cls) -> "PrefectRun | None":
        """The run that the calling flow function belongs to, or None outside a flow."""
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return None
        return cls(context.flow_run)

    @property
    def page(self) -> str:
        """The address of its page."""
        settings = get_current_settings()
        ui = PREFECT_UI_URL.value() or str(settings.api.url or "").removesuffix("/").removesuffix("/api")
        return f"{ui}/runs/flow-run/{self.id}"

    def deployment_parameters(self) -> dict[str, Any]:
        """The parameters that its deployment gives every run."""
        if self._flow_run.deployment_id is None:
            return {}
        with get_client(sync_client=True) as client:
            return dict(client.read_deployment(self._flow_run.deployment_id).parameters)

    def close_lost_tasks(self) -> None:
        """Mark the tasks that an earlier process of this run left as running; a resumed or repeated run has some."""
        if self._flow_run.run_count > 1:
            self._attempt(self._close_lost_tasks)

    def _close_lost_tasks(self) -> None:
        with _client() as client:
            for task in client.read_task_runs(flow_run_filter=self._mine):
                if task.state is not None and not task.state.is_final():
                    client.set_task_run_state(task.id, Crashed(message="Its process ended."), force=True)

    def _cancel_tasks(self) -> None:
        """Call the task cancelled that was at work when the run was; Prefect calls it crashed, or still running."""
        with _client() as client:
            state = client.read_flow_run(self.id).state
            if state is None or state.type not in _STOPPED:
                return
            said: State[Any] = Cancelled(message=f"Stopped: the run is {state.name}. What was finished is kept.")
            for task in client.read_task_runs(flow_run_filter=self._mine):
                if task.state is None or task.state.type in (StateType.RUNNING, StateType.PENDING, StateType.CRASHED):
                    client.set_task_run_state(task.id, said, force=True)

    @property
    def _mine(self) -> FlowRunFilter:
        return FlowRunFilter(id=FlowRunFilterId(any_=[self.id]))

    def rename(self, name: str) -> None:
        """Give the run its name."""
        self._jobs.put(lambda client: client.update_flow_run(self.id, name=name))

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        """Show how far a stage is; of several calls between two looks the last counts."""
        self._progress[stage] = (percent, line)

    def show_page(self, key: str, markdown: str, line: str) -> None:
        """Put a page of Markdown beside the run."""
        page = ArtifactCreate(key=key, type="markdown", data=markdown, description=line, flow_run_id=self.id)
        self._jobs.put(lambda client: client.create_artifact(page))

    def log(self, line: str) -> None:
        """Add a line to the run's log, or to that of the task that is at work."""
        with contextlib.suppress(MissingContextError):
            get_run_logger().info(line)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the run's state while the block works, and leave it if the run is no longer to run.

        Raises:
            RunAborted: If the run was cancelled, deleted or ended.
            RunPaused: If it was paused.
        """
        thread = threading.Thread(target=self._look, name="prefect-run", daemon=True)
        with self._stoppable(), _quiet_delivery():
            thread.start()
            try:
                yield
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._attempt(self._cancel_tasks)
                raise
            finally:
                self._ended.set()
                thread.join(2 * self._look_s)

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let the thread that looks interrupt this one; only the main thread can be."""
        self._can_stop = threading.current_thread() is threading.main_thread()
        if not self._can_stop:
            yield
            return
        before = signal.signal(_STOP_SIGNAL, self._leave)
        try:
            yield
        finally:
            signal.signal(_STOP_SIGNAL, before if before is not None else signal.SIG_DFL)

    def await_api(self, limit_s: float, say: Callable[[str], None]) -> bool:
        """Wait until the API can be told how the run ended; False if it has been away for `limit_s`."""
        end = time.monotonic() + limit_s
        complained = False
        while True:
            with _client() as client:
                if client.api_healthcheck() is None:
                    return True
            if time.monotonic() > end:
                return False
            if not complained:
                complained = True
                say(f"the work is done; waiting at most {limit_s / 60:.0f} min for the Prefect server to take its end")
            time.sleep(_RETURN_POLL_S)

    def _leave(self, *_: object) -> None:
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            raise verdict

    def _look(self) -> None:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(_client())
            while not self._ended.wait(self._look_s):
                self._attempt(lambda: self._say(client))
                if self._can_stop:
                    self._attempt(lambda: self._judge(client))
            self._attempt(lambda: self._say(client))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever a server does wrong, the work goes on
            if not self._away:
                said = str(error).splitlines()
                logger.warning(
                    "the Prefect server does not answer (%s); the work goes on",
                    said[0] if said else type(error).__name__,
                )
            self._away = True
        else:
            self._away = False

    def _say(self, client: SyncPrefectClient) -> None:
        for stage, (percent, line) in list(self._progress.items()):
            key = f"{stage}-progress"
            if stage in self._artifacts:
                client.update_artifact(self._artifacts[stage], ArtifactUpdate(data=percent, description=line))
            else:
                made = ArtifactCreate(key=key, type="progress", data=percent, description=line, flow_run_id=self.id)
                self._artifacts[stage] = client.create_artifact(made).id
            if self._progress.get(stage) == (percent, line):
                del self._progress[stage]
        while not self._jobs.empty():
            job = self._jobs.get()
            try:
                job(client)
            except BaseException:
                self._jobs.put(job)
                raise

    def _judge(self, client: SyncPrefectClient) -> None:
        """Stop the work, as a signal would, if the run is no longer to run."""
        try:
            state = client.read_flow_run(self.id).state
        except ObjectNotFound:
            self._stop(RunAborted("the flow run was deleted"))
            return
        if state is None or state.type in _AT_WORK:
            self._cancelling = 0
        elif state.type == StateType.CANCELLING:
            self._cancelling += 1
            if self._cancelling == _CANCELLING_LOOKS:
                client.set_flow_run_state(
                    self.id, Cancelled(message="Cancelled; what was finished is kept."), force=True
                )
                self._stop(RunAborted("the flow run was cancelled"))
        else:
            self._stop(_verdict(state))

    def _stop(self, verdict: BaseException) -> None:
        self._verdict = verdict
        self._ended.set()
        signal.pthread_kill(threading.main_thread().ident or 0, _STOP_SIGNAL)


def _verdict(state: State[Any]) -> BaseException:
    if state.type == StateType.PAUSED:
        return RunPaused(f"the flow run was paused ({state.name})", state=state)
    return RunAborted(f"the flow run is {state.name}")


def end_with_server() -> None:
    """Have this process end with the `ddpm serve` that started it, however that ends; do nothing under any other."""
    server = os.environ.get(SERVER_VARIABLE)
    if server is None:
        return
    end_with_parent()
    if os.getppid() != int(server):  # it ended before the line above
        raise RunAborted("ddpm serve has ended")


@contextlib.contextmanager
def plain_failures(words: Callable[[str], str]) -> Iterator[None]:
    """Log a failure that its one line explains as that line, without the traceback that Prefect adds."""
    plain = _Plain(words)
    loggers = [logging.getLogger(f"prefect.{kind}_runs") for kind in ("flow", "task")]
    for one in loggers:
        one.addFilter(plain)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(plain)


class _Plain(logging.Filter):
    def __init__(self, words: Callable[[str], str]) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DdpmError):
            record.msg, record.args, record.exc_info = self._words(str(error)), (), None
        return True


@contextlib.contextmanager
def _quiet_delivery() -> Iterator[None]:
    """Keep Prefect from writing to the terminal, every two seconds, that a server which is away takes no log lines."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """A client that answers at once: whoever asks here asks again."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        yield client
