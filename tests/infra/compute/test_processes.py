"""Processes: ended with their parent, told apart, marked for the reaper."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.compute.processes import Reaper, has_ended, machine, start_time
from infra.compute.reaper import VARIABLE
from tests.scripts import python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and the system calls are Linux's")

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


def test_a_process_that_asked_for_it_ends_with_its_parent() -> None:
    asked = "from infra.compute.processes import end_with_parent; end_with_parent()"
    assert _ends_within(_child_of_a_killed_parent(asked), 5)


def test_one_that_did_not_ask_lives_on() -> None:
    child = _child_of_a_killed_parent("pass")
    try:
        assert not _ends_within(child, 0.5), "then the test above shows nothing"
    finally:
        os.kill(child, 9)


def test_a_running_process_has_not_ended_and_a_killed_one_has_even_before_it_is_collected() -> None:
    with python("import time; print('up', flush=True); time.sleep(60)") as child:
        assert child.stdout is not None
        child.stdout.readline()
        started = start_time(child.pid)
        assert started is not None
        assert not has_ended(child.pid, started)
        assert has_ended(child.pid, started + 1), "its pid was given away again"
        child.kill()
        assert _ends_within(child.pid, 5)
        assert has_ended(child.pid, started)
    assert start_time(child.pid) is None
    assert has_ended(child.pid, started)


def test_a_process_whose_name_looks_like_fields_is_read(tmp_path: Path) -> None:
    odd = tmp_path / ") Z 1 ("
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as child:
        started = start_time(child.pid)
        assert started is not None
        assert not has_ended(child.pid, started)
        child.kill()


def test_two_processes_of_a_machine_know_it() -> None:
    with python("from infra.compute.processes import machine; print(machine())") as child:
        assert child.communicate(timeout=60)[0].strip() == machine()
    assert machine() is not None


def test_only_what_starts_in_the_block_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "outer")
    reaper = Reaper.start()
    assert reaper is not None
    with reaper.marking():
        assert os.environ[VARIABLE] == reaper.mark
    assert os.environ[VARIABLE] == "outer"
    assert "SPT_NOENV" not in os.environ
    reaper.end()


def test_a_reaper_that_does_not_start_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for broken in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", broken)
        assert Reaper.start() is None
    assert [record.message[:45] for record in caplog.records] == ["no clean-up after Ray: its process did not st"] * 2
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_line_to_a_reaper_that_is_gone_is_dropped() -> None:
    reading, pipe = os.pipe()
    os.close(reading)
    reaper = Reaper("mark", pipe)
    reaper.remove_later("/tmp/ray/session_x")
    reaper.end()
