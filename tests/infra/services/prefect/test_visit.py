"""A visit to a Prefect server finds what would refuse a run."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest

from infra.errors import ConfigError, StorageError
from infra.services.prefect.server import give_database
from infra.services.prefect.supervisor import identity
from infra.services.prefect.visit import visit
from tests.infra.services.prefect.conftest import Serving
from tests.infra.services.prefect.gate import Gate
from tests.servers import free_ports


def test_the_version_of_a_server_that_answers(serving: Serving, gate: Gate) -> None:
    assert visit(serving.api.url) == metadata.version("prefect")
    gate.shut()
    with pytest.raises(StorageError, match="no Prefect server answers"):
        visit(f"{gate.url}/api")


def test_another_program() -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        try:
            with pytest.raises(StorageError, match=r"no Prefect server answers .*404"):
                visit(f"http://127.0.0.1:{other.server_address[1]}/api")
        finally:
            other.shutdown()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for a key."""
    folder, (port,) = tmp_path_factory.mktemp("keyed"), free_ports(1)
    give_database(folder)
    environment = os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_API_AUTH_STRING": "admin:canary-right",
    }
    command = [sys.executable, "-m", "infra.services.prefect.server", str(port), str(os.getpid())]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        end = time.monotonic() + 120
        while identity(url) is None:
            assert server.poll() is None, Path(folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "the server wants a key (401) - set PREFECT_API_AUTH_STRING"),
        ("admin:canary-wrong", "the server refuses the key of PREFECT_API_AUTH_STRING (401)"),
    ],
)
def test_a_server_with_another_key(keyed: str, key: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.context import refresh_global_settings_context

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", key)
    refresh_global_settings_context()
    try:
        with pytest.raises(ConfigError) as caught:
            visit(keyed)
    finally:
        monkeypatch.delenv("PREFECT_API_AUTH_STRING")
        refresh_global_settings_context()
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.slow
def test_a_server_with_our_key(keyed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.context import refresh_global_settings_context

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:canary-right")
    refresh_global_settings_context()
    try:
        assert visit(keyed) == metadata.version("prefect")
    finally:
        monkeypatch.delenv("PREFECT_API_AUTH_STRING")
        refresh_global_settings_context()
