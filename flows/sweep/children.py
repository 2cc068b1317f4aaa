"""Processes of a sweep's runs: so many at a time, each with a log of its own, and all of them stopped in the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import flows
from infra.errors import ResourceError
from infra.storage.aside import own_state

_POLL_S = 0.1
# A run that is stopped commits a checkpoint before it ends; the largest takes about a minute on a slow store.
_GRACE_S = 120.0
_LONGEST_LINE = 500
_LAST_BYTES = 20_000
_COMPLAINT = "ddpm: "
# Variables of the process of a flow run, which a child would take for its own.
_OF_A_FLOW_RUN = ("PREFECT__", "DDPM_SERVED_BY")
# The child ends with its parent, however that ends, and saves before: SIGTERM is what stops a run.
_PROGRAM = (
    "import os, signal, sys; from infra.compute.processes import end_with_parent; end_with_parent(signal.SIGTERM); "
    "os.getppid() == int(sys.argv.pop(1)) or sys.exit(143); from flows.cli import main; main()"
)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A command of `ddpm` to run in a process of its own.

    Attributes:
        name: The name of its run.
        arguments: Those of `ddpm`.
        log: The file that receives its output.
    """

    name: str
    arguments: Sequence[str]
    log: Path


Start = Callable[[Child], "subprocess.Popen[bytes]"]


def run_children(
    children: Sequence[Child],
    at_once: int,
    *,
    begun: Callable[[Child], None],
    ended: Callable[[Child, int, float], None],
    stopping: Callable[[], None],
    say: Callable[[str], None],
    start: Start,
    grace_s: float = _GRACE_S,
) -> None:
    """Run all children, so many at a time; if this process is interrupted, stop those that run and wait for them.

    A failed child does not end the others.

    Args:
        children: In the order in which they start.
        at_once: The most at a time.
        begun: Called for each as it starts.
        ended: Called for each as it ends, with its exit code and its seconds.
        stopping: Called if children are stopped, before the wait for their ends, in which this process may be killed.
        say: Receives a line if children are stopped.
        start: Starts the process of a child.
        grace_s: Seconds that a stopped child may take to save before it is killed.
    """
    waiting, running = list(children), list[tuple[Child, subprocess.Popen[bytes], float]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                child = waiting.pop(0)
                running.append((child, start(child), time.monotonic()))
                begun(child)
            for entry in list(running):
                child, process, since = entry
                if (code := process.poll()) is not None:
                    running.remove(entry)
                    ended(child, code, time.monotonic() - since)
            if running:
                time.sleep(_POLL_S)  # until a child ends; a run ends by itself
    finally:
        _stop([process for _, process, _ in running], stopping, say, grace_s)


def start_child(child: Child) -> "subprocess.Popen[bytes]":
    """Start the process of a child; a Ctrl-C of the terminal does not reach it.

    Raises:
        ConfigError: If its log cannot be written.
        ResourceError: If the disk is full, or the system starts no more processes.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_FLOW_RUN)}
    top = str(Path(flows.__file__).parent.parent)
    # So that a folder called `flows` in the working directory does not stand in for this package.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (top, environment.get("PYTHONPATH", ""))))
    with own_state(child.log.parent, "make it writable, then run again"):
        child.log.parent.mkdir(parents=True, exist_ok=True)
        output = child.log.open("wb")
    with output:
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), *child.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ResourceError(
                f"its process does not start ({error.strerror})", item=f"run {child.name}", remedy="run again"
            ) from error


def last_complaint(log: Path) -> str:
    """Return the line in which a run said why it ended; if there is none, its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    found = [line.removeprefix(_COMPLAINT) for line in lines if line.startswith(_COMPLAINT)]
    line = (found or lines or [""])[-1]
    return "".join(char for char in line if char.isprintable())[:_LONGEST_LINE]


def _stop(
    processes: "Sequence[subprocess.Popen[bytes]]",
    stopping: Callable[[], None],
    say: Callable[[str], None],
    grace_s: float,
) -> None:
    """Stop processes that still run; kill them if they take too long, or if this process is interrupted again."""
    living = [process for process in processes if process.poll() is None]
    if not living:
        return
    for process in living:
        process.send_signal(signal.SIGTERM)
    try:
        say(f"stopping {len(living)} run{'s' * (len(living) > 1)}: waiting at most {grace_s:.0f} s for what they save")
        deadline = time.monotonic() + grace_s
        stopping()
        while any(process.poll() is None for process in living) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    finally:
        for process in living:
            if process.poll() is None:
                process.kill()
                process.wait()
