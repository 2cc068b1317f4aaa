"""The checks at work: each in a process of its own, several at a time, each ended at its limit.

A process, because Ray, MLflow and a dead file system can hang in ways that no thread gets out of; and because none of
their state then stays in the command.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from flows.doctor.check import Check, Subject
from flows.doctor.finding import Finding, Level
from infra.errors import StorageError

# A check mostly waits: for a server, or for the libraries to load.
AT_A_TIME = 4
_POLL_S = 0.05
# A check that is stopped still removes its objects.
_GRACE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class _Running:
    check: Check
    process: "subprocess.Popen[bytes]"
    answer: IO[bytes]
    end: float

    @classmethod
    def start(cls, check: Check, subject: Subject) -> "_Running":
        answer = tempfile.TemporaryFile()  # noqa: SIM115 - read and closed when the process has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.doctor.child", check.name],
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(subject.as_json()).encode())
        return cls(check=check, process=process, answer=answer, end=time.monotonic() + check.limit_s)

    def findings(self) -> list[Finding] | None:
        """Return its findings, or None while it works and has time left."""
        if self.process.poll() is None:
            if time.monotonic() < self.end:
                return None
            self.stop()
            cause = f"no answer in {self.check.limit_s:g} s"
            return [self._failed(cause, StorageError.exit_code, "see whether it hangs elsewhere too, then run again")]
        with self.answer as answer:
            answer.seek(0)
            text = answer.read()
        try:
            return [Finding.from_json(one) for one in json.loads(text)]
        except (ValueError, TypeError):
            cause = f"its process ended without an answer (code {self.process.returncode})"
            return [self._failed(cause, 1, "run again; if it repeats, this installation is broken")]

    def _failed(self, cause: str, exit_code: int, remedy: str) -> Finding:
        return Finding(level=Level.WRONG, cause=cause, remedy=remedy, exit_code=exit_code, check=self.check.name)

    def stop(self) -> None:
        """End its process, with a moment to remove what it has put somewhere."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                with suppress(subprocess.TimeoutExpired):  # a dead file system holds even a killed process
                    self.process.wait(_GRACE_S)


def examine(
    checks: Sequence[Check], subject: Subject, *, on_wait: Callable[[list[str]], None], at_a_time: int = AT_A_TIME
) -> Iterator[list[Finding]]:
    """Yield the findings of each check, in the order of the checks.

    Args:
        checks: The checks; those with the longest limits start first.
        subject: The places to look at.
        on_wait: Receives the names of the checks that are at work, whenever they change.
        at_a_time: The most checks at a time.
    """
    waiting = sorted(checks, key=lambda check: -check.limit_s)
    running: list[_Running] = []
    done: dict[str, list[Finding]] = {}
    shown = 0
    try:
        while shown < len(checks):
            started = False
            while waiting and len(running) < at_a_time:
                running.append(_Running.start(waiting.pop(0), subject))
                started = True
            ended = [(one, found) for one in running if (found := one.findings()) is not None]
            for one, found in ended:
                running.remove(one)
                done[one.check.name] = found
            if started or ended:
                on_wait([one.check.name for one in running])
            while shown < len(checks) and checks[shown].name in done:
                yield done[checks[shown].name]
                shown += 1
            if not ended:
                time.sleep(_POLL_S)  # bounded by the limits of the checks
    finally:
        for one in running:
            one.stop()
