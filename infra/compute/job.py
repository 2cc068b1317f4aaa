"""A job of a Ray cluster, and the runs that follow it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        id: Its submission id in Ray.
        submission: A random text that differs between any two requests to start a job, of one id too.
        is_new: Whether this process started it.
    """

    id: str
    submission: str
    is_new: bool


class Followers(Protocol):
    """This run and others as followers of jobs."""

    def join(self, job: Job) -> None:
        """Announce that this run follows a job, and no other one any more."""

    def leave(self, job: Job) -> str:
        """Withdraw this run; return a line about another one that follows the job, or nothing if it may be stopped."""
