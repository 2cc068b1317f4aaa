"""The stop of a job whose run was interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from infra.compute.heartbeat import GRACE_S
from infra.compute.job import Followers, Job
from infra.compute.jobs_client import REQUEST_S, UNKNOWN, failed_request
from infra.errors import DdpmError

# How long a job may save its work after it was asked to stop; then Ray kills it. Prefect kills our process after 30 s.
STOP_S = GRACE_S + 5
# How long a stop is asked for that nobody takes: the job is not there yet, or the server is away.
ANSWER_S = 10.0
_STOP_POLL_S = 0.5


class _Answer(NamedTuple):
    """The answer to a request to stop a job: its state in a word, and the line to say about it."""

    state: Literal["ended", "stopping", "unready", "absent", "unknown", "refused"]
    line: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """What stops jobs.

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
        id_ = job.id
        if other := followers.leave(job):
            self.say(f"the job {id_} goes on, because another run follows it: {other}")
            return
        began_s, is_asked, answer = self.clock(), False, _Answer("unknown")
        while self.clock() < began_s + (STOP_S + REQUEST_S if is_asked else ANSWER_S):
            before, answer = answer, self._ask(id_, is_asked=is_asked)
            if answer.state == "ended":
                return
            if answer.state == "absent" and (exists or is_asked):
                self.say(f"the job {id_} is gone with its cluster")
                return
            if answer.state == "refused":
                break
            is_asked = is_asked or answer.state == "stopping"
            if not is_asked and answer != before:
                self.say(f"the job {id_} {answer.line}; asking for {ANSWER_S:g} s at most")
            self.sleep(_STOP_POLL_S)
        self.say(f"the job {id_} {answer.line}; if it works on, `ray job stop --address {self.address} {id_}` stops it")

    def _ask(self, id_: str, *, is_asked: bool) -> _Answer:
        """Ask a job to stop unless it is asked already, and look whether it has ended."""
        try:
            if not is_asked and self.client.stop_job(id_):
                is_asked = True
                self.say(f"stopping the job {id_}; it has {STOP_S:g} s to save its work")
            if self.client.get_job_status(id_).is_terminal():
                return _Answer("ended")
        except DdpmError as error:
            return _Answer("refused", f"may not have stopped ({error.cause})")
        except (OSError, RuntimeError, ValueError) as error:
            if UNKNOWN in str(error):
                return _Answer("absent", "is not there yet")
            return _Answer("unknown", f"may not have stopped ({failed_request(error)})")
        return _Answer("stopping", "has not stopped") if is_asked else _Answer("unready", "has no process yet")
