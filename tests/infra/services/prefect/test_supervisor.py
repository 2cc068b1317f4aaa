"""Our own Prefect server: whose port it is, that its errors reach the terminal, and that it is started again."""

import contextlib
import http.server
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import server_process
from infra.errors import ResourceError
from infra.services.prefect.server import DATABASE
from infra.services.prefect.supervisor import OwnServer, claim_port, identity
from tests.infra.services.prefect.conftest import Serving


class _Program(http.server.BaseHTTPRequestHandler):
    version = b""

    def do_GET(self) -> None:
        body = self.version if self.path == "/api/admin/version" else b"true"
        self.send_response(200 if self.version else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _program(version: bytes) -> Iterator[int]:
    """An HTTP server that answers as Prefect's does without our mark, or 404 to everything."""
    handler = type("Handler", (_Program,), {"version": version})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _assert_taken(port: int, who: str) -> None:
    with pytest.raises(ResourceError) as caught:
        claim_port(port)
    assert caught.value.exit_code == 7
    assert str(caught.value) == (
        f"port {port}: is taken by {who} - choose another port, or set "
        f"PREFECT_API_URL=http://127.0.0.1:{port}/api to use the server that is there"
    )


def test_a_port_of_another_ddpm(serving: Serving) -> None:
    _assert_taken(int(serving.api.ui.rpartition(":")[2]), "the Prefect server of another ddpm")


def test_a_port_of_the_user_s_own_prefect_server(serving: Serving) -> None:
    with urllib.request.urlopen(f"{serving.api.url}/admin/version", timeout=5) as reply:
        answer = reply.read()
    with _program(answer) as port:
        assert identity(f"http://127.0.0.1:{port}/api") == ""
        _assert_taken(port, f"a Prefect server {answer.decode().strip(chr(34))}")


@pytest.mark.parametrize("answer", [b"", b"<!doctype html>\n<title>404 of 3.8</title>"], ids=["404", "page"])
def test_a_port_of_another_program(answer: bytes) -> None:
    with _program(answer) as port:
        _assert_taken(port, "another program")


def test_a_port_of_no_web_server() -> None:
    def hang_up() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, daemon=True).start()
        port = listener.getsockname()[1]
        _assert_taken(port, "another program")
        listener.shutdown(socket.SHUT_RDWR)
    assert claim_port(port) == port
    assert claim_port(0) > 0


def test_identity(serving: Serving) -> None:
    mark = identity(serving.api.url)
    assert mark is not None
    assert len(mark) == 32
    with _program(b"") as port:
        assert identity(f"http://127.0.0.1:{port}/api") == ""
    assert identity(f"http://127.0.0.1:{port}/api") is None


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else took the port between the claim and the start."""
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "ERROR:    [Errno 98] address already in use"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    server = OwnServer(tmp_path, claim_port(0), print)
    server.start()
    with pytest.raises(ResourceError, match=r"did not start \(\[Errno 98\] address already in use\)") as caught:
        server.await_answer()
    assert caught.value.exit_code == 7
    server.stop()


def _await(happened: Callable[[], bool], limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _assert_refused(server: OwnServer) -> None:
    asked = urllib.request.Request(f"{server.url}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(asked, timeout=30)


def test_a_server_with_a_fault_and_one_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serving: Serving
) -> None:
    monkeypatch.setattr(server_process, "_WATCH_S", 0.2)
    monkeypatch.setattr(server_process, "_RESTARTS", 1)
    assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "CRITICAL", (
        "this process shows none of Prefect's lines"
    )
    said: list[str] = []
    server = OwnServer(tmp_path, claim_port(0), said.append)
    server.start()
    try:
        server.await_answer()
        mark = identity(server.url)
        with contextlib.closing(sqlite3.connect(tmp_path / DATABASE, timeout=30)) as database:
            database.execute("ALTER TABLE flow_run RENAME TO gone")
        _assert_refused(server)
        _await(lambda: bool(said))
        _assert_refused(server)
        time.sleep(0.6)
        (line,) = said
        assert line.startswith("the Prefect server reports: sqlalchemy.exc.OperationalError: ")
        assert line.endswith(f"no such table: flow_run (see {server.log})")
        first = server.pid
        os.kill(first, signal.SIGKILL)
        _await(lambda: server.pid != first and identity(server.url) == mark)
        assert said[1:] == ["the Prefect server ended (code -9); starting it again, the work goes on"]
        assert not server.gone.is_set()
        os.kill(server.pid, signal.SIGKILL)
        assert server.gone.wait(10)
        assert said[2:] == [f"the Prefect server ended 2 times and is not started again (see {server.log})"]
    finally:
        server.stop()
    assert identity(server.url) is None
    assert not [line for line in serving.said if "no such table" in line], "each server reports its own"
