"""An MLflow server, and a gate before it that refuses requests."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.servers import free_ports

_START_LIMIT_S = 180


class Gate:
    """Stands before the server, counts requests and refuses some."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, ""
        self.requests = 0
        self.is_down = False
        self.refuses: Callable[[str, dict[str, Any]], bool] = lambda path, body: False


def handler(gate: Gate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            gate.requests += 1
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if gate.is_down:
                self.close_connection = True
                return
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            body = json.loads(data) if data and is_json else {}
            if gate.refuses(self.path, body):
                self._answer(400, json.dumps({"error_code": "BAD_REQUEST", "message": "refused by the gate"}).encode())
                return
            behind = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            behind.request(self.command, self.path, data, headers)
            answer = behind.getresponse()
            self._answer(answer.status, answer.read())
            behind.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """A server whose artifacts go to `folder/artifacts`."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                running = process.poll() is None and time.monotonic() < deadline
                assert running, f"MLflow did not start:\n{log_file.read_text()[-2000:]}"
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
