"""A server in a process of its own: started with a log, waited for, started again if it ends, stopped with us."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import DdpmError, ResourceError

_POLL_S, _WATCH_S = 0.1, 1.0
_RESTARTS = 3
_TAIL = 4096
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program of a server.

    Attributes:
        name: The server's name in lines.
        command: Its command line.
        answers: Tells whether it answers by now.
        environment: Variables beside those of this process.
        before: Called before each start.
        start_limit_s: The longest wait for its first answer.
        stop_limit_s: The longest wait for its end, after which it is killed.
        remedy: The remedy if it does not start.
        restart: The words on its restart if it ends by itself; empty to point to its log.
    """

    name: str
    command: Sequence[str]
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    start_limit_s: float = 120.0
    stop_limit_s: float = 15.0
    remedy: str = "see the log, then run again"
    restart: str = ""


class ServerProcess:
    """One running server.

    Args:
        program: Its program.
        log: The file that its output goes to.
        say: Called with a line for the terminal.
    """

    def __init__(self, program: Program, log: Path, say: Callable[[str], None]) -> None:
        self.program, self.log, self._say = program, log, say
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{program.name}", daemon=True)
        self.gone = threading.Event()

    @property
    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process; it needs seconds until it answers."""
        self.log.write_bytes(b"")
        self._process = self._spawn()

    def await_answer(self) -> None:
        """Wait until it answers; from then on it is watched.

        Raises:
            ResourceError: If it ends or does not answer in time; the line holds the end of its log.
        """
        assert self._process is not None, "the server was not started"
        end = time.monotonic() + self.program.start_limit_s
        while True:
            ended = self._process.poll() is not None
            if not ended and self.program.answers():
                break
            if ended or time.monotonic() > end:
                limit = f"did not answer within {self.program.start_limit_s:g} s"
                raise ResourceError(
                    f"{self.program.name} {'did not start' if ended else limit}{self._why()}",
                    item=str(self.log),
                    remedy=self.program.remedy,
                )
            time.sleep(_POLL_S)
        self._watcher.start()

    def stop(self) -> None:
        """End the process, and those that it started and left in its group."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join(self.program.stop_limit_s)
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.program.stop_limit_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self.program.before()
        # A log file and no pipe of ours, because a reader of our output must not wait for the server to end.
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.program.command,
                env=os.environ | dict(self.program.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _look(self) -> None:
        """Look at the log of a server that is watched; a server of which more is known says it here."""

    def _why(self) -> str:
        with suppress(OSError):
            lines = self.log.read_bytes()[-_TAIL:].decode(errors="replace").strip().splitlines()
            return f" ({lines[-1].strip()[:_LONGEST]})" if lines else ""
        return ""

    def _watch(self) -> None:
        restarts, name = 0, self.program.name
        while not self._stopping.wait(_WATCH_S):
            self._look()
            assert self._process is not None, "the server was not started"
            if self._process.poll() is None:
                continue
            if restarts == _RESTARTS:
                self._say(f"{name} ended {_RESTARTS + 1} times and is not started again (see {self.log})")
                self.gone.set()
                return
            restarts += 1
            words = self.program.restart or f"starting it again (see {self.log})"
            self._say(f"{name} ended (code {self._process.returncode}); {words}")
            try:
                self._process = self._spawn()
            except (DdpmError, OSError) as error:  # such as a full disk
                self._say(f"{name} cannot be started again ({error})")
                self.gone.set()
                return
