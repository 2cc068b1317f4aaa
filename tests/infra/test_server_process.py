"""A server in a process of its own: waited for, started again, given up, stopped."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.errors import ResourceError
from infra.server_process import Program, ServerProcess
from tests.servers import free_ports

SERVE = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def until(so: Callable[[], object], limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


class Made:
    """Servers that are stopped after the test, and their lines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self.servers = folder, [], []

    def __call__(self, program: str = SERVE, **more: object) -> tuple[ServerProcess, int]:
        (port,) = free_ports(1)
        command = (sys.executable, "-c", program, str(port))
        made = Program(name="Store", command=command, answers=lambda: answers(port), **more)
        self.servers.append(ServerProcess(made, self.folder / "log", self.said.append))
        return self.servers[-1], port


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.setattr("infra.server_process._WATCH_S", 0.05)
    made = Made(tmp_path)
    yield made
    for server in made.servers:
        server.stop()


def test_it_is_waited_for_and_stopped(make: Made) -> None:
    server, port = make()
    server.start()
    server.await_answer()
    assert answers(port)
    server.stop()
    assert not answers(port)
    assert make.said == []


def test_one_that_ends_is_started_again_until_it_is_given_up(make: Made) -> None:
    server, port = make()
    server.start()
    server.await_answer()
    for count in range(1, 4):
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: server.pid != pid)
        assert make.said[-1].startswith("Store ended (code -9); starting it again (see ")
        assert len(make.said) == count
    until(lambda: answers(port))
    os.kill(server.pid, signal.SIGKILL)
    until(server.gone.is_set)
    assert make.said[-1].startswith("Store ended 4 times and is not started again (see ")


def test_one_that_cannot_be_started_again_is_given_up_with_a_line(make: Made) -> None:
    starts: list[int] = []

    def before() -> None:
        starts.append(1)
        if len(starts) > 1:
            raise ResourceError("is full", item="disk", remedy="make room")

    server, _ = make(before=before)
    server.start()
    server.await_answer()
    os.kill(server.pid, signal.SIGKILL)
    until(server.gone.is_set)
    assert make.said[-1] == "Store cannot be started again (disk: is full - make room)"


def test_one_that_does_not_start_says_why(make: Made) -> None:
    server, _ = make("import sys; sys.exit('address in use')")
    server.start()
    with pytest.raises(ResourceError, match=r"log: Store did not start \(address in use\) - see the log"):
        server.await_answer()


def test_one_that_does_not_answer_in_time(make: Made) -> None:
    server, _ = make("import time; time.sleep(60)", start_limit_s=0.3)
    server.start()
    with pytest.raises(ResourceError, match=r"Store did not answer within 0.3 s"):
        server.await_answer()


def test_one_that_ignores_sigterm_is_killed_with_its_children(make: Made, tmp_path: Path) -> None:
    program = (
        "import os, signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n" + SERVE.replace("; ", "\n")
    )
    server, _ = make(program, stop_limit_s=0.3)
    server.start()
    server.await_answer()
    child = int((tmp_path / "pid").read_text())
    server.stop()
    until(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())
