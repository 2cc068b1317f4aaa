"""The stop of a job whose run was interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from infra.compute.heartbeat import GRACE_S
from infra.compute.job import Followers, Job
from infra.compute.jobs_client import UNKNOWN, failed_request
from infra.errors import DdpmError
from infra.storage.download import without_secrets

# How long a job may save its work after it was asked to stop; then Ray kills it.
STOP_S = GRACE_S + 5
# The bound of all that an interrupt waits for here. Prefect's runner kills our process 30 s after its signal, and some
# of them are for the last line, for MLflow and for the process's own end. Ray ends a job that needs longer without us.
WAIT_S = 22.0
# How long a stop is asked for that nobody takes: the job is not there yet, or the server is away.
ANSWER_S = 10.0
_STOP_POLL_S = 0.5


class _Answer(NamedTuple):
    """The answer to a request to stop a job: its state in a word, the line to say about it, whether it was asked."""

    state: Literal["ended", "stopping", "unready", "absent", "unknown", "refused"]
    line: str = ""
    is_asked: bool = False


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Stops jobs, and says what it does.

    Attributes:
        client: Ray's client.
        address: The address of the jobs server.
        say: Receives lines for the user.
        sleep: Waits between two requests.
        clock: Returns seconds from any origin.
    """

    client: Any
    address: str
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def stop(self, job: Job, followers: Followers, *, exists: bool) -> None:
        """Ask a job to stop unless others follow it, and wait for its end, but not for long.

        A job that is about to start may come after the first request, and one that has just come may have no process
        yet that could be stopped. So the request is repeated until one is taken.

        Args:
            job: The job.
            followers: This run and others.
            exists: Whether the server has confirmed the job; if not, its start may still be under way.
        """
        id_, began_s = job.id, self.clock()
        if other := followers.leave(job):
            self.say(f"the job {id_} goes on, because another run follows it: {other}")
            return
        answer = _Answer("unknown")
        while self.clock() < began_s + (WAIT_S if answer.is_asked else ANSWER_S):
            before, answer = answer, self._ask(id_, is_asked=answer.is_asked)
            if answer.state == "ended":
                return
            if answer.state == "absent" and (exists or answer.is_asked):
                self.say(f"the job {id_} is gone with its cluster")
                return
            if answer.state == "refused":
                break
            if not answer.is_asked and answer != before:
                self.say(f"the job {id_} {answer.line}; asking for {ANSWER_S:g} s at most")
            self.sleep(_STOP_POLL_S)
        line = f"was asked to stop; Ray ends it within {STOP_S:g} s" if answer.is_asked else answer.line
        command = f"ray job stop --address {without_secrets(self.address)} {id_}"
        self.say(f"the job {id_} {line}; if it works on, `{command}` stops it")

    def _ask(self, id_: str, *, is_asked: bool) -> _Answer:
        """Ask a job to stop unless it is asked already, and look whether it has ended."""
        try:
            if not is_asked and self.client.stop_job(id_):
                is_asked = True
                self.say(f"stopping the job {id_}; it has {STOP_S:g} s to save its work")
            if self.client.get_job_status(id_).is_terminal():
                return _Answer("ended")
        except DdpmError as error:
            return _Answer("refused", f"may not have stopped ({error.cause})", is_asked)
        except (OSError, RuntimeError, ValueError) as error:
            if UNKNOWN in str(error):
                return _Answer("absent", "is not there yet", is_asked)
            return _Answer("unknown", f"may not have stopped ({failed_request(error)})", is_asked)
        return _Answer("stopping", "", is_asked) if is_asked else _Answer("unready", "has no process yet")
