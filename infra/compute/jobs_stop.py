"""The stop of a job whose run was interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from infra.compute.heartbeat import GRACE_S
from infra.compute.jobs_client import REQUEST_S, failed_request

# How long a job may save its work after it was asked to stop; then Ray kills it. Prefect kills our process after 30 s.
STOP_S = GRACE_S + 5
_STOP_POLL_S = 0.5


class Followers(Protocol):
    """This run and others as followers of jobs."""

    def join(self, job: str) -> None:
        """Announce that this run follows a job, and no other one any more."""

    def leave(self, job: str) -> str:
        """Withdraw this run; return a line about another one that follows the job, or nothing if it may be stopped."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """What stops jobs.

    Attributes:
        client: Ray's client.
        say: Receives lines for the user.
        sleep: Waits between two requests.
        clock: Returns seconds from any origin.
    """

    client: Any
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def stop(self, id_: str, followers: Followers) -> None:
        """Ask a job to stop unless others follow it, and wait for its end, but not for long."""
        again = "the same command finds it if it is still at work"
        until_s = self.clock() + STOP_S + REQUEST_S
        if other := followers.leave(id_):
            self.say(f"the job {id_} goes on, because another run follows it: {other}")
            return
        try:
            self.client.stop_job(id_)
            self.say(f"stopping the job {id_}; it has {STOP_S:g} s to save its work")
            while not self.client.get_job_status(id_).is_terminal():
                if self.clock() > until_s:
                    self.say(f"the job {id_} has not stopped; {again}")
                    return
                self.sleep(_STOP_POLL_S)
        except (OSError, RuntimeError, ValueError) as error:
            self.say(f"the job {id_} may not have stopped ({failed_request(error)}); {again}")
