"""Jobs of a Ray cluster, by the jobs server of its dashboard: start, find again, follow and stop them.

A job is a command that the cluster runs on its head. It outlives the process that started it, and ends with its
cluster. Credentials are the cluster's own: nothing of this process's environment goes along.
"""

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from infra.compute.job import Followers, Job
from infra.compute.jobs_client import (
    NO_CLIENT,
    UNKNOWN,
    ServerFaultError,
    check_versions,
    connection_error,
    failed_request,
    open_client,
)
from infra.compute.jobs_stop import STOP_S, Stopping
from infra.compute.ray_errors import first_line
from infra.errors import ResourceError, Term
from infra.storage.download import without_secrets

R = TypeVar("R")

_SUBMISSION = "submission"
_STOP_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
_RETRY_S = 2.0
# The log comes as a whole each time, so a log that takes long to come is asked for less often.
_LOG_SHARE = 0.05
_LINES_FOUND = 20
# Ray's own lines in a job's log.
_RAYS_LINE = re.compile(r"Running entrypoint for job |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\s+INFO ")


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """The end of a job.

    Attributes:
        state: `succeeded`, `failed` or `stopped`.
        code: The exit code of its command; None if the command did not end by itself.
        message: Ray's message about the end.
        last_line: The last line of its log; empty if the log is not there.
    """

    state: str
    code: int | None
    message: str
    last_line: str = ""


@dataclass(kw_only=True)
class Jobs:
    """The jobs of one cluster; the first call connects.

    Attributes:
        address: The address of its jobs server, such as http://head:8265.
        patience_s: How long a server that does not answer any more is waited for.
        say: Receives lines for the user.
        poll_s: The time between two looks at a job.
        sleep: Waits between two requests.
        clock: Returns seconds from any origin.
    """

    address: str
    patience_s: float
    say: Callable[[str], None]
    poll_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _client: Any = field(default=None, init=False)

    @contextlib.contextmanager
    def at_work(self, name: str, command: Callable[[Job], Sequence[str]], followers: Followers) -> Iterator[Job]:
        """Start a job under the name's next number, or find the job of this name that is at work.

        If this process is interrupted meanwhile, from the first request on, the job is stopped unless others follow it.

        Args:
            name: Letters, digits and hyphens; it says what the job does.
            command: Receives the job that is about to start; returns its command.
            followers: Receives the job before it starts, or as soon as it is found.

        Raises:
            ConfigError: If the server refuses our token, or has another version of Ray.
            ResourceError: If it does not answer, or takes no job.
        """
        begun: list[Job] = []
        job: Job | None = None
        try:
            job = self._start(name, command, begun.append, followers)
            yield job
        except Exception:
            raise
        except BaseException:
            if begun:
                self._stopping.stop(begun[-1], followers, exists=job is not None)
            raise

    def _start(
        self, name: str, command: Callable[[Job], Sequence[str]], note: Callable[[Job], None], followers: Followers
    ) -> Job:
        """Start or find a job; `note` receives it as soon as it may be there."""
        self._connect()
        refusal: RuntimeError | None = None
        for _ in range(2):  # because another process may take the number meanwhile
            known = {info.submission_id or "": info for info in self._asked(self._client.list_jobs)}
            numbers = numbers_of(name, known)
            if working := [number for number in numbers if not known[f"{name}-{number}"].status.is_terminal()]:
                id_ = f"{name}-{max(working)}"
                job = Job(id=id_, submission=(known[id_].metadata or {}).get(_SUBMISSION, ""), is_new=False)
                note(job)
                followers.join(job)
                return job
            id_ = f"{name}-{max(numbers, default=0) + 1}"
            job = Job(id=id_, submission=secrets.token_hex(8), is_new=True)
            words = command(job)
            followers.join(job)
            note(job)
            try:
                self._submit(job, words)
            except RuntimeError as error:
                refusal = error
            else:
                return job
        raise ResourceError(
            f"takes no job ({first_line(refusal or RuntimeError())})", item=without_secrets(self.address)
        )

    def follow(self, job: Job, *, on_line: Callable[[str], None], on_poll: Callable[[], None]) -> JobEnd:
        """Follow a job to its end.

        Args:
            job: The job.
            on_line: Receives each line of its log; of a job that was found at work only the last ones so far.
            on_poll: Called now and then.

        Raises:
            ResourceError: If the server does not answer for `patience_s`, or no longer knows the job.
        """
        self._connect()
        log = _Log(on_line, shown=None if job.is_new else _LINES_FOUND)
        next_s = self.clock()
        while True:
            info = self._info(job)
            if (ended := info.status.is_terminal()) or self.clock() >= next_s:
                began_s = self.clock()
                self._show(job, log)
                next_s = self.clock() + (self.clock() - began_s) / _LOG_SHARE
            on_poll()
            if ended:
                return JobEnd(
                    state=info.status.value.lower(),
                    code=info.driver_exit_code,
                    message=info.message or "",
                    last_line=log.last_line,
                )
            self.sleep(self.poll_s)

    @property
    def _stopping(self) -> Stopping:
        return Stopping(client=self._client, address=self.address, say=self.say, sleep=self.sleep, clock=self.clock)

    def _connect(self) -> None:
        if self._client is not None:
            return
        client = self._asked(self._open_client)
        check_versions(client.server_version, client.own_version, self.address)
        self._client = client

    def _open_client(self) -> Any:  # noqa: ANN401 - Ray's own type
        """Return a client; nobody waits at the start for a server of which there is no sign at all.

        Raises:
            ServerFaultError: If there is a server that cannot serve now.
        """
        try:
            return open_client(self.address)
        except ServerFaultError:
            raise
        except NO_CLIENT as error:
            raise connection_error(error, self.address) from error

    def _submit(self, job: Job, command: Sequence[str]) -> None:
        """Submit a job.

        Raises:
            RuntimeError: If the server refuses it, such as an id that is taken.
        """
        self._asked(
            lambda: self._client.submit_job(
                entrypoint=f"exec {shlex.join(command)}",  # so that signals and the exit code are the command's own
                submission_id=job.id,
                metadata={_SUBMISSION: job.submission},
                runtime_env={"env_vars": {_STOP_VARIABLE: f"{STOP_S:g}"}},
            )
        )

    def _info(self, job: Job) -> Any:  # noqa: ANN401 - Ray's own type
        try:
            return self._asked(lambda: self._client.get_job_info(job.id))
        except RuntimeError as error:
            known = UNKNOWN not in str(error)
            raise ResourceError(
                f"its state is not to be had ({first_line(error)})" if known else "the cluster no longer knows it",
                item=f"job {job.id}",
                remedy="run the same command again, which finds the job or starts another",
            ) from error

    def _show(self, job: Job, log: "_Log") -> None:
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # the log's node may be away; no work needs it
            log.show(self._client.get_job_logs(job.id))

    def _asked(self, call: Callable[[], R]) -> R:
        """Return a request's answer; wait for a server that is away for a while."""
        until_s: float | None = None
        while True:
            try:
                return call()
            except (OSError, ValueError) as error:  # the second for an answer that is cut off
                now_s = self.clock()
                if until_s is None:
                    until_s = now_s + self.patience_s
                    self.say(
                        f"the jobs server {without_secrets(self.address)} does not answer ({failed_request(error)}); "
                        f"jobs go on without it; waiting at most {self.patience_s / 60:g} min for it"
                    )
                if now_s >= until_s:
                    raise ResourceError(
                        f"did not answer for {self.patience_s / 60:g} min ({failed_request(error)})",
                        item=f"jobs server {without_secrets(self.address)}",
                        remedy=f"the same command finds a job that is still at work; {Term.LONGER_WAIT}",
                    ) from error
                self.sleep(_RETRY_S)


class _Log:
    """The part of a job's log that was not shown yet.

    Args:
        on_line: Receives each line.
        shown: The most lines to show the first time; None for all.
    """

    def __init__(self, on_line: Callable[[str], None], shown: int | None) -> None:
        self._on_line, self._shown, self._length = on_line, shown, 0
        self.last_line = ""

    def show(self, text: str) -> None:
        """Show the new whole lines of the log."""
        end = text.rfind("\n") + 1
        lines = [line for line in text[self._length : end].splitlines() if line.strip() and not _RAYS_LINE.match(line)]
        self._length = max(end, self._length)
        for line in lines if self._shown is None else lines[-self._shown :]:
            self._on_line(line)
        self._shown = None
        self.last_line = lines[-1].strip() if lines else self.last_line


def numbers_of(name: str, ids: Sequence[str] | dict[str, Any]) -> list[int]:
    """Return the numbers of the jobs of a name.

    >>> numbers_of("ddpm-train-1a", ["ddpm-train-1a-2", "ddpm-train-1a-10", "ddpm-train-1ab-3", "raysubmit_x"])
    [2, 10]
    """
    matches = (re.fullmatch(rf"{re.escape(name)}-(\d+)", id_) for id_ in ids)
    return [int(match[1]) for match in matches if match]
