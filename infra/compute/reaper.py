"""End what a local Ray leaves behind; a script of its own, run as `python -I -S reaper.py MARK GRACE_S`.

Standard input is a pipe whose other end only the driver holds, so its end is the driver's end, even by `kill -9`. The
driver writes two kinds of lines: `/tmp/ray/session_...`, the folder to remove, and `end` if it ended Ray itself.

`infra.compute.processes.Reaper` is the driver's side. This file imports nothing of ours, so that it starts in 20 ms.
"""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "DDPM_RAY_MARK"  # in the environment of all of Ray's processes
_LIMIT_S = 10.0
_PAUSE_S = 0.2
_SESSION_OPTION = re.compile(rb"--session[-_]dir=(/[^\0]+)")  # in the command lines of Ray's processes


def reap(mark: str, grace_s: float) -> None:
    """Wait for the driver's end, kill the processes with the mark, and remove their session's folder.

    The driver never has the mark, because /proc shows the environment that a process started with.
    """
    lines = sys.stdin.buffer.read().split(b"\n")
    folders = {line for line in lines if line.startswith(b"/")}
    start = time.monotonic()
    kill_from = start if b"end" in lines else start + grace_s
    rounds_without = 0  # two of them, because a process that starts during the first may be missed
    while rounds_without < 2 and time.monotonic() < kill_from + _LIMIT_S:
        found = False
        for process in marked(mark):
            found = True
            folders.update(_session_folders(process))
            if time.monotonic() >= kill_from:
                _kill(int(process.name))
        rounds_without = 0 if found else rounds_without + 1
        time.sleep(_PAUSE_S)  # nothing reports the end of processes that are not our children; bounded by _LIMIT_S
    for folder in folders:
        remove_session(Path(os.fsdecode(folder)))


def marked(mark: str) -> Iterator[Path]:
    """Yield the folders in /proc of the processes with a mark in their environment."""
    entry = f"{VARIABLE}={mark}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if entry in (process / "environ").read_bytes().split(b"\0"):
                    yield process
            except OSError:  # it ended, or it is another user's
                continue


def _session_folders(process: Path) -> list[bytes]:
    try:
        return _SESSION_OPTION.findall((process / "cmdline").read_bytes())
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def remove_session(folder: Path) -> None:
    """Remove a session's folder if it is a real folder of this user, named `ray/session_*`; keep anything else."""
    if not folder.name.startswith("session_") or folder.parent.name != "ray":
        return
    try:
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            return
        latest = folder.parent / "session_latest"
        if latest.is_symlink() and latest.readlink() == folder:
            latest.unlink()  # Ray replaces no link that leads nowhere
    except OSError:
        return
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Leave the driver's process tree, so that killing the tree does not kill the reaper, and reap."""
    if os.fork() == 0:
        reap(sys.argv[1], float(sys.argv[2]))


if __name__ == "__main__":
    main()
