"""The Prefect run that this process works for: its page, and whether it is still meant to run.

A thread of its own talks to the API beside the work: an API that is away costs one warning, never the work.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, Running, Suspended

from infra.errors import ConfigError, Interrupted
from infra.services.prefect.client import prompt_client
from infra.services.prefect.lost import LOST
from infra.services.prefect.run.log import quiet_delivery
from infra.services.prefect.run.missed import skip_missed
from infra.services.prefect.run.page import RunPage
from infra.services.prefect.run.stops import RunAborted, RunOutOfTime, RunPaused

_LOOK_S = 3.0
# The runner of a deployment stops its process by itself; a run without a runner is stopped by us.
_CANCELLING_LOOKS = 4
_RETURN_POLL_S = 2.0
# The last word on a run is sent only once, and the server's database may be locked for a moment.
_LAST_WORD_RETRIES = 2
_AT_WORK = (StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED)
_STOPPED = (StateType.CANCELLING, StateType.CANCELLED, StateType.PAUSED)
_TERMINATED = 143
_STOP_SIGNAL = signal.SIGUSR1
logger = logging.getLogger(__name__)


class PrefectRun(RunPage):
    """One flow run, seen from its own process.

    Args:
        flow_run: As the server knows it.
        look_s: How often its state is looked at.
    """

    def __init__(self, flow_run: FlowRun, look_s: float = _LOOK_S) -> None:
        super().__init__(flow_run.id)
        self._flow_run, self._look_s = flow_run, look_s
        self._mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        self._verdict: BaseException | None = None
        self._cancelling = 0
        self._ended, self._looked = threading.Event(), threading.Event()
        self._away = self._can_stop = False

    @classmethod
    def current(cls) -> "PrefectRun | None":
        """The run that the calling flow function belongs to, or None outside a flow."""
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return None
        return cls(context.flow_run)

    def deployment_parameters(self) -> dict[str, Any]:
        """The parameters that its deployment gives every run."""
        if self._flow_run.deployment_id is None:
            return {}
        with get_client(sync_client=True) as client:
            return dict(client.read_deployment(self._flow_run.deployment_id).parameters)

    @property
    def is_deployed(self) -> bool:
        """Whether the run belongs to a deployment."""
        return self._flow_run.deployment_id is not None

    def skip_missed(self) -> int:
        """Cancel the other runs of its schedule that are due by now, as this one does their work; return how many."""
        skipped: list[int] = []
        begins = self._flow_run.run_count <= 1  # a run that is retried or resumed later stands for no other
        if begins and self._flow_run.auto_scheduled and self._flow_run.created_by is not None:
            self._attempt(lambda: skipped.append(skip_missed(self._flow_run)))
        return sum(skipped)

    def fail(self, line: str, name: str = "Failed") -> None:
        """End the run as failed for a reason that one line explains.

        If a flow of a deployment returns a failed state, Prefect raises it in the end, and logs the traceback.

        Args:
            line: The reason.
            name: The name of the state.

        Raises:
            RunAborted: If the run belongs to a deployment and the server took its end.
        """

        def tell() -> None:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(self.id, Failed(name=name, message=line), force=True)

        if self.is_deployed and self._attempt(tell):
            raise RunAborted(line)

    def close_lost_tasks(self) -> None:
        """Mark the tasks that an earlier process of this run left as running; a resumed or repeated run has some."""
        lost: State[Any] = Crashed(message="Its process ended.")
        if self._flow_run.run_count > 1:
            self._attempt(lambda: self._settle(lost, lambda task: task.state is None or not task.state.is_final()))

    @contextlib.contextmanager
    def watched(self, limit_s: float = 0.0) -> Iterator[None]:
        """Look at the run's state while the block works, and leave the block if the run is to stop.

        Args:
            limit_s: Seconds that the block may take; 0 for any time.

        Raises:
            RunAborted: If the run was cancelled, deleted or ended.
            RunOutOfTime: If the block took longer than `limit_s`.
            RunPaused: If it was paused.
        """
        thread = threading.Thread(target=self._look, name="prefect-run", daemon=True)
        with self._stoppable(), quiet_delivery(), self._limited(limit_s):
            thread.start()
            try:
                yield
            except BaseException as error:
                self._can_stop = False  # else the next look takes our own change of the state for somebody else's
                if isinstance(error, Interrupted):
                    self._attempt(self._cancel)
                if isinstance(error, RunOutOfTime):
                    self._attempt(self._end_tasks)
                elif not isinstance(error, Exception):
                    self._attempt(self._cancel_tasks)
                if isinstance(error, Interrupted):
                    raise RunAborted("interrupted") from error  # else Prefect calls the run crashed
                raise
            finally:
                self._ended.set()
                self._looked.wait(2 * self._look_s)

    def await_api(self, limit_s: float, say: Callable[[str], None]) -> bool:
        """Wait until the API can take the end of the run; return False if it has been away for `limit_s`."""
        end = time.monotonic() + limit_s
        complained = False
        while True:
            with prompt_client() as client:
                if client.api_healthcheck() is None:
                    return True
            if time.monotonic() > end:
                return False
            if not complained:
                complained = True
                say(f"the work is done; waiting at most {limit_s / 60:.0f} min for the Prefect server to take its end")
            time.sleep(_RETURN_POLL_S)  # nothing reports that a server is back; bounded by limit_s

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let the thread that looks and SIGTERM interrupt this one; only the main thread can be.

        The exception of Prefect's own handler of SIGTERM is not a SystemExit, so Ray's waits hold it back to their end.
        """
        self._can_stop = threading.current_thread() is threading.main_thread()
        if not self._can_stop:
            yield
            return
        handlers = {_STOP_SIGNAL: self._leave, signal.SIGTERM: self._terminate}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextlib.contextmanager
    def _limited(self, limit_s: float) -> Iterator[None]:
        """Stop this thread after a while, by a timer of its own, since a look may wait for a server that is away."""
        if not limit_s:
            yield
            return
        if not self._can_stop:
            raise ConfigError("needs the main thread of a process", item="timeout")
        timer = threading.Timer(limit_s, self._stop, [RunOutOfTime("the flow run reached its time limit")])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join(self._look_s)  # since its signal must meet our handler

    def _leave(self, *_: object) -> None:
        verdict, self._verdict = self._verdict, None
        if verdict is not None and self._can_stop:
            self._can_stop = False  # a runner's SIGTERM, or a parent's, is not to cut short what the run saves
            raise verdict

    def _terminate(self, *_: object) -> None:
        if self._can_stop:
            self._can_stop = False
            raise Interrupted(_TERMINATED)

    def _look(self) -> None:
        try:
            with prompt_client() as client:
                while not self._ended.wait(self._look_s):
                    if self._attempt(lambda: self._visit(client)):
                        self._away = False
                self._attempt(lambda: self.deliver(client))
        finally:
            self._looked.set()

    def _visit(self, client: SyncPrefectClient) -> None:
        """Look once; a server that refuses our news may still have news for us."""
        try:
            self.deliver(client)
        finally:
            if self._can_stop:
                self._judge(client)

    def _attempt(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except Exception as error:  # the work goes on, whatever a server does wrong
            if not self._away:
                said = str(error).splitlines() or [type(error).__name__]
                mine = {"flow_run_id": str(self.id)}  # since this may be another thread than the flow's
                logger.warning("the Prefect server does not answer (%s); the work goes on", said[0], extra=mine)
            self._away = True
            return False
        return True

    def _judge(self, client: SyncPrefectClient) -> None:
        """Stop the work, as a signal would, if the run is to stop."""
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
                client.set_flow_run_state(self.id, Cancelled(message="Finished work is kept."), force=True)
                self._stop(RunAborted("the flow run was cancelled"))
        elif state.type == StateType.PAUSED:
            if not state.state_details.pause_reschedule:  # else nobody would go on when it is resumed
                client.set_flow_run_state(self.id, Suspended(message="Paused. Finished work is kept."), force=True)
            self._stop(RunPaused(f"the flow run was paused ({state.name})", state=state))
        elif state.type == StateType.CRASHED and state.message == LOST:
            # The server was away, or this machine asleep. Only a process that is gone for good loses its run.
            client.set_flow_run_state(self.id, Running(message="Its process lives."), force=True)
            logger.warning(
                "the Prefect server took the run for lost; the work goes on", extra={"flow_run_id": str(self.id)}
            )
        else:
            self._stop(RunAborted(f"the flow run is {state.name}"))

    def _stop(self, verdict: BaseException) -> None:
        self._verdict = verdict
        self._ended.set()
        signal.pthread_kill(threading.main_thread().ident or 0, _STOP_SIGNAL)

    def _cancel(self) -> None:
        """Mark the run as cancelled, unless others have given it a state or a runner will when the process is gone."""
        mine = _AT_WORK if self.is_deployed else (*_AT_WORK, StateType.CANCELLING)
        with prompt_client(_LAST_WORD_RETRIES) as client:
            state = client.read_flow_run(self.id).state
            if state is None or state.type in mine:
                said: State[Any] = Cancelled(message="Interrupted. Finished work is kept.")
                client.set_flow_run_state(self.id, said, force=True)

    def _cancel_tasks(self) -> None:
        """Mark the tasks of a stopped run as cancelled; Prefect calls them crashed, or still running."""
        with prompt_client(_LAST_WORD_RETRIES) as client:
            state = client.read_flow_run(self.id).state
        if state is not None and state.type in _STOPPED:
            said: State[Any] = Cancelled(message=f"Stopped: the run is {state.name}. Finished work is kept.")
            self._settle(said, _is_unfinished)

    def _end_tasks(self) -> None:
        """Mark the tasks of a run that is out of time as cancelled; the run itself ends as timed out."""
        self._settle(Cancelled(message="The run reached its time limit. Finished work is kept."), _is_unfinished)

    def _settle(self, state: State[Any], applies: Callable[[TaskRun], bool]) -> None:
        with prompt_client(_LAST_WORD_RETRIES) as client:
            for task in client.read_task_runs(flow_run_filter=self._mine):
                if applies(task):
                    client.set_task_run_state(task.id, state, force=True)


def _is_unfinished(task: TaskRun) -> bool:
    return task.state is None or not task.state.is_completed()
