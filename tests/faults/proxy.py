"""A small HTTP proxy in front of an S3 server that does to chosen requests what networks and stores do."""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["status", "delay", "delay_after", "reset_before", "reset_after", "status_after", "cut"]
_CODES = {
    409: "ConditionalRequestConflict",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}
_LIMIT_S = 60


@dataclass(frozen=True)
class Fault:
    """The fate of one request.

    Attributes:
        kind: "status" answers without asking the server; "status_after", having asked it; a "reset" breaks the
            connection and a "delay" holds it up, before or after the server has done what was asked; "cut" ends
            half-way through the answer.
        status: The answer.
        seconds: The delay.
    """

    kind: Kind
    status: int = 503
    seconds: float = 0.0


@dataclass
class Seen:
    """One request that came by."""

    method: str
    path: str
    fault: Fault | None
    status: int = 0


@dataclass
class Proxy:
    """The proxy as a test uses it.

    Attributes:
        url: Where it listens.
        plan: Says of each request, by its number since the last reset, what happens to it.
        seen: The requests since then.
    """

    url: str = ""
    plan: Callable[[int, Seen], Fault | None] = lambda number, seen: None
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    puts: threading.Lock = field(default_factory=threading.Lock)

    def set(self, plan: Callable[[int, Seen], Fault | None]) -> None:
        """Start anew with a plan."""
        with self.lock:
            self.seen, self.plan = [], plan

    def note(self, method: str, path: str) -> Seen:
        """Count a request and settle what happens to it."""
        with self.lock:
            seen = Seen(method, path, None)
            seen.fault = self.plan(len(self.seen), seen)
            self.seen.append(seen)
        return seen


@contextlib.contextmanager
def fault_proxy(upstream: str, without: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """Run a proxy in front of a server.

    Args:
        upstream: The server.
        without: Headers that do not come through; in lower case.
    """
    proxy = Proxy()
    target = urlsplit(upstream).netloc
    handler = type("Handler", (_Handler,), {"proxy": proxy, "target": target, "without": without})
    server = _Quiet(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that give up are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    target: str
    without: tuple[str, ...]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = self.proxy.note(self.command, self.path)
        fault = seen.fault
        if fault is None:
            self._answer(*self._forward(seen, body))
        elif fault.kind == "delay":
            time.sleep(fault.seconds)
            self._answer(*self._forward(seen, body))
        elif fault.kind == "delay_after":
            reply = self._forward(seen, body)
            time.sleep(fault.seconds)
            self._answer(*reply)
        elif fault.kind == "status":
            self._refuse(fault.status)
        elif fault.kind == "status_after":
            self._forward(seen, body)
            self._refuse(fault.status)
        elif fault.kind == "reset_before":
            self._reset()
        elif fault.kind == "reset_after":
            self._forward(seen, body)
            self._reset()
        else:
            status, headers, data = self._forward(seen, body)
            self._answer(status, headers, data, upto=len(data) // 2)
            self._reset()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _forward(self, seen: Seen, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        drop = {"expect", "connection", "accept-encoding", *self.without}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
        # Moto looks whether a key is taken and puts in two steps: one at a time, they are one.
        with self.proxy.puts if self.command == "PUT" else contextlib.nullcontext():
            upstream = http.client.HTTPConnection(self.target, timeout=_LIMIT_S)
            upstream.request(self.command, self.path, body=body, headers=headers)
            reply = upstream.getresponse()
            data = reply.read()
            upstream.close()
        seen.status = reply.status
        return reply.status, reply.getheaders(), data

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, upto: int | None = None) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data[:upto])

    def _refuse(self, status: int) -> None:
        text = f"<Error><Code>{_CODES[status]}</Code><Message>by plan</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text)

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        pass
