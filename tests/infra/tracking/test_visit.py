"""A visit to a tracking server finds what would refuse a run, and leaves nothing there."""

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.errors import ConfigError, StorageError
from infra.tracking.tracker import Tracker
from infra.tracking.visit import visit
from tests.servers import free_ports

ITEM = "MLFLOW_TRACKING_URI"


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_a_database_takes_a_new_experiment_and_has_none_afterwards(tracker: Tracker, folder: Path) -> None:
    before = (folder / "mlflow.db").read_bytes()
    assert visit(f"sqlite:///{folder / 'mlflow.db'}", ITEM) == ""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        names = [name for (name,) in database.execute("select name from experiments")]
    assert sorted(names) == ["Default", "exp"]
    assert (folder / "mlflow.db").read_bytes() == before


def test_a_database_that_takes_nothing(tracker: Tracker, folder: Path) -> None:
    with pytest.raises(StorageError, match=r"does not take a new experiment .*readonly"):
        visit(f"sqlite:///file:{folder / 'mlflow.db'}?mode=ro&uri=true", ITEM)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            status, data = answer(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def keyed(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """MLflow's app basic-auth: its health alone is open."""
    return (200, b"OK") if handler.path == "/health" else (401, b"You are not authenticated.")


def test_a_server_with_another_key() -> None:
    with answering(keyed) as place, pytest.raises(ConfigError) as caught:
        visit(f"http://me:canary-pw@{place}", f"{ITEM} http://{place}")
    assert "refuses us (UNAUTHENTICATED) - set MLFLOW_TRACKING_USERNAME" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_server_that_refuses_our_name_for_it() -> None:
    with (
        answering(lambda _: (403, b"Invalid Host header - possible DNS rebinding attack detected")) as place,
        pytest.raises(
            ConfigError, match=r"Invalid Host header.* - start it with this host and port in --allowed-hosts"
        ),
    ):
        visit(f"http://{place}", ITEM)


def test_a_closed_port_and_another_program() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StorageError, match=r"no MLflow server answers .*refused"):
        visit(f"http://127.0.0.1:{port}", ITEM)
    with answering(lambda _: (200, b"hello")) as place, pytest.raises(StorageError, match="does not take"):
        visit(f"http://{place}", ITEM)


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.tracking.visit._LIMIT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as hole,
        pytest.raises(StorageError, match=r"no MLflow server answers .*timed out"),
    ):
        visit(f"http://127.0.0.1:{hole.getsockname()[1]}", ITEM)
