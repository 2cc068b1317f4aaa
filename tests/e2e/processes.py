"""Real processes of the command `ddpm`, and what they leave behind."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

MARK = "DDPM_TEST_MARK"
# They take a minute to notice that their raylet is gone, and are Ray's own.
RAYS_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "dashboard/agent.py", "runtime_env/agent")


def settings(*values: str) -> list[str]:
    """`a.b=value` as command-line options."""
    return [part for value in values for part in ("--set", value)]


class Command:
    """One running `ddpm`, whose descendants are found by a mark in their environment."""

    def __init__(self, arguments: Iterable[str], log: Path, **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
                env=os.environ | environment | {MARK: self.mark, "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, limit_s: float = 180) -> int:
        """Return the exit code."""
        return self.process.wait(limit_s)

    def await_that(self, ready: Callable[[], bool], limit_s: float = 120) -> None:
        """Wait until something is so, while it runs."""
        deadline = time.monotonic() + limit_s
        while not ready():
            assert self.process.poll() is None, f"ended before that:\n{self.text()}"
            assert time.monotonic() < deadline, f"never got so far:\n{self.text()}"
            time.sleep(0.005)

    def send_when(self, ready: Callable[[], bool], signal: int) -> int:
        """Send a signal as soon as something is so, and return the exit code."""
        self.await_that(ready)
        self.process.send_signal(signal)
        return self.wait(60)

    def text(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def processes(self) -> list[tuple[int, str]]:
        """Itself and its living descendants: process id and command line."""
        return _marked(self.mark)

    def left(self) -> list[str]:
        """Command lines of its living descendants, Ray's agents left out."""
        return [line for line in everything_left(self.mark) if not any(agent in line for agent in RAYS_AGENTS)]

    def assert_nothing_left(self, limit_s: float = 30) -> None:
        """Wait until nothing of it lives."""
        deadline = time.monotonic() + limit_s
        while left := self.left():
            assert time.monotonic() < deadline, f"still there after {limit_s} s: {left}"
            time.sleep(0.2)


def everything_left(mark: str) -> list[str]:
    """Command lines of all living processes with a mark, Ray's agents among them."""
    return [line for _, line in _marked(mark)]


def _marked(mark: str) -> list[tuple[int, str]]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(process.name), line))
        except OSError:
            continue
    return [(number, line) for number, line in found if line.strip()]


def digests(root: Path) -> dict[str, str]:
    """The digest of every sealed output, by manifest."""
    import json

    return {
        path.relative_to(root).as_posix(): json.loads(path.read_text())["digest"]
        for path in sorted(root.glob("*/*/manifests/*.json"))
    }
