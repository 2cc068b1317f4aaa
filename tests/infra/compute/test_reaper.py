"""Nothing of a local Ray outlives its driver: no process, no folder; and nothing else is touched."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.compute.reaper import VARIABLE, remove_session
from tests.scripts import python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the reaper reads /proc")

# A driver that starts a marked process, with a child, and one without a mark; then it is killed or ends as told.
DRIVER = """
import os, signal, subprocess, sys, time
from infra.compute.processes import Reaper
reaper = Reaper.start(grace_s=0.3)
with reaper.marking():
    subprocess.Popen(["sh", "-c", "sleep 61 & sleep 62"])
foreign = subprocess.Popen(["sleep", "63"])
reaper.remove_later(sys.argv[2])
print(reaper.mark, foreign.pid, flush=True)
sys.stdin.readline()
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
reaper.end()
print("goes on", flush=True)
time.sleep(60)
"""
# The same with Ray: an actor, and a process of the driver's own that is started later.
RAY_DRIVER = """
import os, signal, subprocess, sys
import ray
from infra.compute.cluster import Cluster

@ray.remote
class Actor:
    def pid(self):
        return os.getpid()

with Cluster() as cluster:
    cluster.connect()
    actor = Actor.remote()
    pid = ray.get(actor.pid.remote())
    foreign = subprocess.Popen(["sleep", "63"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    mark = cluster._connection.reaper.mark
    print(mark, foreign.pid, pid, ray._private.worker._global_node.get_session_dir_path(), flush=True)
    sys.stdin.readline()
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
print("left", flush=True)
sys.stdin.readline()
"""


def named(mark: str) -> dict[int, str]:
    """The processes with the mark, and the reaper that looks for it."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                command = (process / "cmdline").read_bytes()
                if mark.encode() in command or f"{VARIABLE}={mark}".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = command.replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
    return found


def none_within(mark: str, seconds: float) -> dict[int, str]:
    deadline = time.monotonic() + seconds
    while (left := named(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def wait_for(commands: Callable[[], list[str]], expected: list[str]) -> None:
    deadline = time.monotonic() + 5
    while (found := commands()) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def tell(driver: "subprocess.Popen[str]") -> None:
    assert driver.stdin is not None
    driver.stdin.write("\n")
    driver.stdin.flush()


def line(driver: "subprocess.Popen[str]") -> list[str]:
    assert driver.stdout is not None
    return driver.stdout.readline().split()


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "ray" / "session_2026-01-02_03"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "raylet.out").touch()
    (folder.parent / "session_latest").symlink_to(folder)
    return folder


@pytest.mark.parametrize("end", ["kill", "clean"])
def test_marked_processes_and_the_folder_go_and_others_stay(end: str, session: Path) -> None:
    driver = start(DRIVER, end, session)
    mark, foreign = line(driver)
    try:
        wait_for(
            lambda: sorted(text.split()[0] for text in named(mark).values()), [sys.executable, "sh", "sleep", "sleep"]
        )
        tell(driver)
        if end == "clean":
            assert line(driver) == ["goes", "on"]
        assert none_within(mark, 5) == {}, "a process stays, or the reaper itself"
        assert list(session.parent.iterdir()) == []
        assert lives(int(foreign))
        assert lives(driver.pid) == (end == "clean")
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def test_killing_the_drivers_whole_group_does_not_reach_the_reaper(session: Path) -> None:
    driver = start(DRIVER, "never", session)
    mark, _ = line(driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert none_within(mark, 5) == {}
    assert not session.exists()


def test_a_session_whose_driver_died_while_it_started_is_found_by_its_processes(session: Path) -> None:
    code = """
import os, subprocess, sys
from infra.compute.processes import Reaper
reaper = Reaper.start(grace_s=0.5)
with reaper.marking():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "--session-dir=" + sys.argv[1]])
print(reaper.mark, flush=True)
os._exit(1)
"""
    driver = start(code, session)
    (mark,) = line(driver)
    assert none_within(mark, 5) == {}
    assert not session.exists()


def test_links_inside_a_session_are_not_followed(session: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (session / "link").symlink_to(kept)
    remove_session(session)
    assert not session.exists()
    assert (kept / "file").exists()


@pytest.mark.parametrize("name", ["ray/other", "notray/session_1", "ray/session_link", "ray/session_1/../session_2"])
def test_anything_that_is_no_session_stays(name: str, tmp_path: Path) -> None:
    for folder in ("ray/other", "notray/session_1", "ray/session_1", "ray/session_2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ray" / "session_link").symlink_to(tmp_path / "ray" / "other")
    remove_session(Path(f"{tmp_path}/{name}"))
    assert (tmp_path / name).exists()


def test_another_sessions_link_stays(session: Path) -> None:
    other = session.parent / "session_other"
    other.mkdir()
    remove_session(other)
    assert (session.parent / "session_latest").readlink() == session


@pytest.mark.parametrize("end", ["kill", pytest.param("clean", marks=pytest.mark.slow)])
def test_nothing_of_a_local_ray_outlives_its_driver(end: str) -> None:
    driver = start(RAY_DRIVER, end)
    mark, foreign, actor, session = line(driver)
    try:
        before = named(mark)
        assert int(actor) in before
        assert {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= set(before.values()), "then this test shows nothing"
        assert int(foreign) not in before
        assert driver.pid not in before
        tell(driver)
        if end == "clean":
            assert line(driver) == ["left"]
        left = none_within(mark, 10 if end == "kill" else 3)
        assert left == {}
        assert not Path(session).exists()
        assert lives(int(foreign))
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def test_the_reaper_starts_without_our_packages() -> None:
    with python(
        "import sys, infra.compute.reaper; print(*sorted(n for n in sys.modules if n.startswith('infra')))"
    ) as child:
        assert child.communicate(timeout=60)[0].split() == ["infra", "infra.compute", "infra.compute.reaper"]
