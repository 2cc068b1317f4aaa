"""Real processes: so many at a time, none outlives the sweep, and each may save before it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.sweep.children import Child, last_complaint, run_children, start_child
from infra.errors import ConfigError, Interrupted

# Says that it runs, saves on SIGTERM, and counts who runs beside it.
SAVES = """
trap 'sleep 0.2; echo saved > "$0.saved"; exit 143' TERM
: > "$0.running"
while [ ! -e "$0.done" ]; do sleep 0.02; done
"""


def child(folder: Path, name: str) -> Child:
    return Child(name=name, arguments=[], log=folder / f"{name}.log")


def shell(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sh", "-c", script, *arguments], stdin=subprocess.DEVNULL, start_new_session=True)


def test_so_many_at_a_time_and_each_end_is_told(tmp_path: Path) -> None:
    running: set[str] = set()
    most, codes = [0], {}

    def begun(one: Child) -> None:
        running.add(one.name)
        most[0] = max(most[0], len(running))

    def ended(one: Child, code: int, seconds: float) -> None:
        running.discard(one.name)
        codes[one.name] = code
        assert seconds >= 0

    children = [child(tmp_path, str(number)) for number in range(5)]
    start = lambda one: shell(f"sleep 0.1; exit {one.name}")  # noqa: E731
    run_children(children, 2, begun=begun, ended=ended, stopping=lambda: None, say=print, start=start)
    assert most == [2]
    assert codes == {str(number): number for number in range(5)}, "a failure ends no other"


def test_an_interrupt_stops_all_and_waits_for_what_they_save(tmp_path: Path) -> None:
    children = [child(tmp_path, name) for name in ("a", "b", "c")]
    started: list[subprocess.Popen[bytes]] = []
    said: list[str] = []

    def start(one: Child) -> "subprocess.Popen[bytes]":
        started.append(shell(SAVES, str(tmp_path / one.name)))
        return started[-1]

    def begun(one: Child) -> None:
        if one.name == "b":
            deadline = time.monotonic() + 10
            while not all((tmp_path / f"{name}.running").exists() for name in ("a", "b")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            raise Interrupted(130)

    with pytest.raises(Interrupted):
        run_children(
            children, 2, begun=begun, ended=lambda *_: None, stopping=lambda: None, say=said.append, start=start
        )
    assert [process.poll() for process in started] == [143, 143]
    assert sorted(path.name for path in tmp_path.glob("*.saved")) == ["a.saved", "b.saved"]
    assert not (tmp_path / "c.running").exists()
    assert said == ["stopping 2 runs: waiting at most 120 s for what they save"]


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(_: Child) -> "subprocess.Popen[bytes]":
        started.append(shell("trap '' TERM; : > \"$0\"; while :; do sleep 0.02; done", str(tmp_path / "deaf")))
        return started[-1]

    def begun(_: Child) -> None:
        deadline = time.monotonic() + 10
        while not (tmp_path / "deaf").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise Interrupted(130)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_children(
            [child(tmp_path, "a")],
            1,
            begun=begun,
            ended=lambda *_: None,
            stopping=lambda: None,
            say=print,
            start=start,
            grace_s=0.3,
        )
    assert started[0].poll() == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 5


def test_a_child_is_the_command_itself_wherever_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called flows in the working directory is not taken for the package."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDPM_SERVED_BY", "1")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "x")
    one = Child(name="a", arguments=["sweep-run", str(tmp_path / "none.json")], log=tmp_path / "logs" / "a.log")
    process = start_child(one)
    assert process.wait(60) == 2
    assert one.log.read_text() == f"ddpm: {tmp_path}/none.json: is not the file of a run\n"
    assert last_complaint(one.log) == f"{tmp_path}/none.json: is not the file of a run"


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    with pytest.raises(ConfigError, match=f"folder {tmp_path}/logs: cannot be written"):
        start_child(Child(name="a", arguments=[], log=tmp_path / "logs" / "a.log"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_child_is_stopped_if_its_parent_is_killed(tmp_path: Path) -> None:
    """The program of a child with a command that waits: SIGTERM arrives when the parent is killed."""
    from flows.sweep.children import _PROGRAM

    waiting = (
        "import signal, sys, pathlib, time; place = pathlib.Path(sys.argv[1]); "
        "signal.signal(signal.SIGTERM, lambda *_: (place.with_suffix('.saved').touch(), sys.exit(143))); "
        "place.touch(); time.sleep(30)"
    )
    program = _PROGRAM.replace("from flows.cli import main; main()", waiting)
    assert program != _PROGRAM
    parent = (
        "import os, subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid()), sys.argv[2]]); time.sleep(30)"
    )
    place = tmp_path / "child"
    process = subprocess.Popen([sys.executable, "-c", parent, program, str(place)])
    await_file(place)
    process.kill()
    process.wait()
    await_file(place.with_suffix(".saved"))


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_the_last_complaint_is_that_of_the_command(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_complaint(log) == ""
    log.write_text("ddpm: a warning\nwork\nddpm: train: loss is not finite\nnoise of Ray\x1b\n\n")
    assert last_complaint(log) == "train: loss is not finite"
    log.write_text("one\nKilled\n")
    assert last_complaint(log) == "Killed"
