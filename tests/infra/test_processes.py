"""A process ends with its parent, whatever it waits for itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = "import time; {call}; print('up', flush=True); time.sleep(60)"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def _child_of_a_killed_parent(call: str) -> int:
    command = [sys.executable, "-c", PARENT, CHILD.format(call=call)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    return child


def _ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the system call is Linux's")
def test_a_process_that_asked_for_it_ends_with_its_parent() -> None:
    asked = "from infra.processes import end_with_parent; end_with_parent()"
    assert _ends_within(_child_of_a_killed_parent(asked), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_one_that_did_not_ask_lives_on() -> None:
    child = _child_of_a_killed_parent("pass")
    try:
        assert not _ends_within(child, 0.5), "then the test above shows nothing"
    finally:
        os.kill(child, 9)
