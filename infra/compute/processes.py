"""Questions and requests of a process to the system: its parent, other processes, and an end to Ray's."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.compute import reaper

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_GRACE_S = 3.0  # Ray ends most of its processes by itself within a second of the driver's end
_START_LIMIT_S = 30.0
_END_LIMIT_S, _POLL_S = 15.0, 0.2
_START_TIME = 19  # its place in /proc/PID/stat, counted from the state; before that comes a name that may hold spaces


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the system send this process a signal when its parent ends; do nothing on systems other than Linux.

    Otherwise a worker of Ray's that waits for ever in its own end (2.60: a lock taken twice while its destructors run)
    would outlive the cluster, with all that it has loaded.

    Args:
        number: The signal; without one the process is killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def machine() -> str | None:
    """Return a name that two processes share if, and only if, each sees the other in /proc; None without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pid_namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return f"{socket.gethostname()} {boot} {pid_namespace}"


def start_time(pid: int) -> int | None:
    """Return when a process started, in the system's ticks since boot; None if this process cannot see it.

    Pid and start time together name a process: the system gives a pid away again.
    """
    fields = _stat(pid)
    return int(fields[_START_TIME]) if fields else None


def has_ended(pid: int, started: int) -> bool:
    """Tell whether the process that had this pid and start time has certainly ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it exists, and it is another user's
    fields = _stat(pid)
    return fields is not None and (fields[0] in "ZX" or int(fields[_START_TIME]) != started)


def end_marked(mark: str, limit_s: float = _END_LIMIT_S) -> int:
    """End the processes that carry a mark of `Reaper`, and no others; return how many there were.

    Args:
        mark: The mark.
        limit_s: How long they may take to end by themselves before they are killed.
    """
    if sys.platform != "linux":
        return 0
    found = _signal_marked(mark, signal.SIGTERM)
    end = time.monotonic() + limit_s
    while time.monotonic() < end and any(reaper.marked(mark)):
        time.sleep(_POLL_S)  # nothing reports the end of processes that are not our children
    _signal_marked(mark, signal.SIGKILL)
    return found


def _signal_marked(mark: str, number: signal.Signals) -> int:
    processes = list(reaper.marked(mark))
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(int(process.name), number)
    return len(processes)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None if they are missing or hidden."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() or None
    except OSError:
        return None


@dataclass(frozen=True)
class Reaper:
    """The driver's side of `infra.compute.reaper`: a process that ends what Ray leaves behind, however the driver ends.

    Attributes:
        mark: The mark in the environment of the processes to end.
        pipe: The writing end of the pipe that the process reads; a child of the driver that is forked without exec
            holds it too, and the process waits for that child's end.
    """

    mark: str
    pipe: int

    @classmethod
    def start(cls, grace_s: float = _GRACE_S) -> "Reaper | None":
        """Start the process; None, with a warning, if that fails, and None on systems other than Linux.

        Args:
            grace_s: How long Ray's processes may take to end by themselves after a driver that was killed.
        """
        if sys.platform != "linux":
            return None
        mark = uuid.uuid4().hex
        command = [sys.executable, "-I", "-S", str(Path(reaper.__file__).resolve()), mark, str(grace_s)]
        # An outer cluster's mark would make its reaper end this one.
        environment = {name: value for name, value in os.environ.items() if name != reaper.VARIABLE}
        reading, pipe = os.pipe()
        try:
            subprocess.run(
                command,
                env=environment,
                cwd="/",
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                check=True,
                timeout=_START_LIMIT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(pipe)
            logger.warning("no clean-up after Ray: its process did not start (%s)", error)
            return None
        finally:
            os.close(reading)
        return cls(mark, pipe)

    @contextlib.contextmanager
    def marking(self) -> Iterator[None]:
        """Mark the processes that are started in this block, and those that they start later."""
        # Without SPT_NOENV Ray's agents overwrite their environment in /proc by their titles.
        marks = {reaper.VARIABLE: self.mark, "SPT_NOENV": "1"}
        before = {name: os.environ.get(name) for name in marks}
        os.environ |= marks
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def remove_later(self, session_folder: str) -> None:
        """Have a session's folder removed when its processes have ended."""
        self._write(session_folder)

    def end(self) -> None:
        """Have the processes that are still there killed now; return at once."""
        self._write("end")
        os.close(self.pipe)

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # if the reaper is gone, nobody cleans up
            os.write(self.pipe, os.fsencode(f"{line}\n"))
