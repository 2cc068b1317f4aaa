"""The process of our own Prefect server: started, asked who it is, watched, started again if it dies, ended with us.

Nobody looks at its log, so each error that the log reports is repeated on the terminal, once.
"""

import contextlib
import errno
import os
import re
import secrets
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from infra.errors import ConfigError, ResourceError, Term
from infra.server_process import Program, ServerProcess
from infra.services.prefect.server import DATABASE, IDENTITY_HEADER, IDENTITY_VARIABLE, give_database
from infra.services.prefect.server_log import ErrorLines
from infra.storage.aside import ANOTHER_CACHE, own_state

HOST = "127.0.0.1"
_WILDCARDS = MappingProxyType({"0.0.0.0": HOST, "::": "::1"})
_LOG = "server.log"
_STOP_LIMIT_S = 10.0
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


class OwnServer(ServerProcess):
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
        self._identity = secrets.token_hex(16)
        self._errors = ErrorLines(folder / _LOG)
        environment = {
            "PREFECT_HOME": str(folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / DATABASE}",
            "PREFECT_API_URL": self.url,
            # From another machine the pages reach the API at the address that the browser has used.
            "PREFECT_UI_API_URL": self.url if host == HOST else "/api",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",  # into the log, however quiet this process is
            "PREFECT_LOGGING_COLORS": "false",
            # Else a scheduler that writes and a form that is saved refuse each other after ten seconds.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            # The slots of a user's limits are leased. A lease in memory would end with this process, its slot never.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            IDENTITY_VARIABLE: self._identity,
        }
        program = Program(
            name="the Prefect server",
            command=[sys.executable, "-m", "infra.services.prefect.server", str(port), str(os.getpid()), host],
            answers=lambda: identity(self.url) == self._identity,  # this server, and no other
            environment=environment | ({"PREFECT_SERVER_API_AUTH_STRING": key} if key else {}),
            before=lambda: _give_database(folder),
            stop_limit_s=_STOP_LIMIT_S,
            remedy="see the log; run again, or set PREFECT_API_URL to use a server of your own",
            restart="starting it again, the work goes on",
        )
        super().__init__(program, folder / _LOG, say)

    def _look(self) -> None:
        for line in self._errors.fresh():
            self._say(f"the Prefect server reports: {line} (see {self.log})")

    def _why(self) -> str:
        lines = [*self._errors.fresh(), *self._errors.fresh()]  # the second ends what the first began
        return f" ({lines[-1]})" if lines else ""


def _give_database(folder: Path) -> None:
    with own_state(folder, ANOTHER_CACHE):
        give_database(folder)


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
