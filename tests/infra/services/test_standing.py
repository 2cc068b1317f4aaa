"""The owner of a root's servers is found, and servers that a killed command left are ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.services.standing import Standing, claim, find

# Claims a root, starts a process with the mark, and sleeps until it is killed.
HOLD = """
import os, subprocess, sys, time
from infra.compute.reaper import VARIABLE
from infra.services.standing import Standing, claim
with claim(sys.argv[1]) as claimed:
    claimed.write(Standing(pid=os.getpid(), mark=sys.argv[2]))
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleep, env=os.environ | {VARIABLE: sys.argv[2]}, start_new_session=True)
    claimed.write(Standing(pid=os.getpid(), mark=sys.argv[2], pages={"MLflow": "http://x"}, is_ready=True))
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_killed_one_leaves_servers_that_the_next_ends_and_no_others() -> None:
    root, mark = "/runs", "ab" * 16
    holder = subprocess.Popen([sys.executable, "-c", HOLD, root, mark], stdout=subprocess.PIPE, text=True)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with claim(root) as claimed:
            assert not claimed.is_ours
            assert claimed.standing is not None
            assert claimed.standing.pages == {"MLflow": "http://x"}
            assert claimed.end_leftovers() == 0, "they are not left over"
        assert find(root) == Standing(pid=holder.pid, mark=mark, pages={"MLflow": "http://x"}, is_ready=True)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert find(root) is None
        assert is_alive(child)
        with claim(root) as claimed:
            assert claimed.is_ours
            assert claimed.end_leftovers() == 1
            end = time.monotonic() + 10
            while is_alive(child):
                assert time.monotonic() < end
                time.sleep(0.05)
        assert other.poll() is None
        with claim(root) as claimed:
            assert claimed.standing is None, "they are forgotten"
    finally:
        for process in (holder, other):
            process.kill()
            process.wait()


def test_roots_are_claimed_apart_and_again() -> None:
    with claim("/runs") as one, claim("/other") as two:
        assert one.is_ours
        assert two.is_ours
        one.write(Standing(pid=1))
        one.clear()
    with claim("/runs") as again:
        assert again.is_ours
        assert again.standing is None


def test_a_file_that_is_damaged_is_none() -> None:
    with claim("/runs") as claimed:
        (claimed.folder / "servers.json").write_text('{"unknown": 1}')
    with claim("/runs") as claimed:
        assert claimed.standing is None
        assert claimed.end_leftovers() == 0
