"""The process of our own Prefect server: started, asked who it is, watched, started again if it dies, ended with us.

Nobody looks at its log, so each error that the log reports is repeated on the terminal, once.
"""

import contextlib
import errno
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from infra.errors import ConfigError, ResourceError, Term
from infra.services.prefect.server import DATABASE, IDENTITY_HEADER, IDENTITY_VARIABLE, give_database
from infra.services.prefect.server_log import ErrorLines

HOST = "127.0.0.1"
_WILDCARDS = MappingProxyType({"0.0.0.0": HOST, "::": "::1"})
_LOG = "server.log"
_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 10.0
_POLL_S = 0.1
_WATCH_S = 1.0
_RESTARTS = 3
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


class OwnServer:
    """One Prefect server on one port.

    Args:
        folder: Its database and log.
        port: Where it listens.
        say: Called with a line for the terminal.
        host: The address that it listens on; by default this machine alone reaches it.
        key: The `user:password` that it asks for; empty for none.
    """

    def __init__(self, folder: Path, port: int, say: Callable[[str], None], *, host: str = HOST, key: str = "") -> None:
        self.url = f"http://{_reachable(host)}:{port}/api"
        self._host, self._key = host, key
        self.log = folder / _LOG
        self._folder, self._port, self._say = folder, port, say
        self._identity = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="prefect-server-watch", daemon=True)
        self._errors = ErrorLines(self.log)
        self.gone = threading.Event()

    @property
    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process; it needs seconds until it answers."""
        give_database(self._folder)
        with self.log.open("wb"):
            pass  # the errors of an earlier server were repeated then
        self._process = self._spawn()

    def await_answer(self) -> None:
        """Wait until this server, and no other, answers; from then on it is watched.

        Raises:
            ResourceError: If it ends or does not answer in time.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            assert self._process is not None, "the server was not started"
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ResourceError(
                    "the Prefect server did not start" + self._why(),
                    item=str(self.log),
                    remedy="see the log; run again, or set PREFECT_API_URL to use a server of your own",
                )
            time.sleep(_POLL_S)
        if not self._watcher.is_alive():
            self._watcher.start()

    def stop(self) -> None:
        """End the process and the watch."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join(_STOP_LIMIT_S)
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            "PREFECT_HOME": str(self._folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self._folder / DATABASE}",
            "PREFECT_API_URL": self.url,
            # From another machine the pages reach the API at the address that the browser has used.
            "PREFECT_UI_API_URL": self.url if self._host == HOST else "/api",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",  # into the log, however quiet this process is
            "PREFECT_LOGGING_COLORS": "false",
            # Else a scheduler that writes and a form that is saved refuse each other after ten seconds.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            # The slots of a user's limits are leased. A lease in memory would end with this process, its slot never.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            IDENTITY_VARIABLE: self._identity,
        }
        if self._key:
            environment["PREFECT_SERVER_API_AUTH_STRING"] = self._key
        command = [sys.executable, "-m", "infra.services.prefect.server", str(self._port), str(os.getpid()), self._host]
        # A log file and no pipe of ours, because a reader of our output must not wait for the server to end.
        with self.log.open("ab") as output:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _answers(self) -> bool:
        return identity(self.url) == self._identity

    def _why(self) -> str:
        lines = [*self._errors.fresh(), *self._errors.fresh()]  # the second ends what the first began
        return f" ({lines[-1]})" if lines else ""

    def _watch(self) -> None:
        restarts = 0
        while not self._stopping.wait(_WATCH_S):
            for line in self._errors.fresh():
                self._say(f"the Prefect server reports: {line} (see {self.log})")
            assert self._process is not None, "the server was not started"
            if self._process.poll() is None:
                continue
            if restarts == _RESTARTS:
                self._say(f"the Prefect server ended {_RESTARTS + 1} times and is not started again (see {self.log})")
                self.gone.set()
                return
            restarts += 1
            self._say(
                f"the Prefect server ended (code {self._process.returncode}); starting it again, the work goes on"
            )
            self._process = self._spawn()


def identity(url: str) -> str | None:
    """Ask a server who it is: return its mark if we started it, "" if another answers, None if nobody does."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return str(reply.headers.get(IDENTITY_HEADER, ""))
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError):
        return None


def claim_port(port: int, host: str = HOST) -> int:
    """Return a free port: the given one, or any if it is 0.

    Args:
        port: The port.
        host: The address to listen on.

    Raises:
        ResourceError: If a program listens on it; the line names the program and two remedies.
        ConfigError: If the address is none of this machine.
    """
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _no_address(host) from error
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(host) from error
            url = f"http://{_reachable(host)}:{port}/api"
            raise ResourceError(
                f"is taken by {_who(url)}",
                item=f"port {port}",
                remedy=f"choose {Term.ANOTHER_PORT}, or set PREFECT_API_URL={url} to use the server that is there",
            ) from error
        return int(listener.getsockname()[1])


def _no_address(host: str) -> ConfigError:
    return ConfigError(
        f"this machine has no address {host}",
        item=Term.BIND_ADDRESS,
        remedy="write one that it has, or 0.0.0.0 for all of them",
    )


def _reachable(host: str) -> str:
    """Return the address by which this machine reaches what listens on a host."""
    address = _WILDCARDS.get(host, host)
    return f"[{address}]" if ":" in address else address


def _who(url: str) -> str:
    mark = identity(url)
    if mark:
        return "the Prefect server of another ddpm"
    version = ""
    if mark is not None:
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(f"{url}/admin/version", timeout=5) as reply,
        ):
            version = reply.read(64).decode(errors="replace").strip('" \n')
    return f"a Prefect server {version}" if _VERSION.fullmatch(version) else "another program"
