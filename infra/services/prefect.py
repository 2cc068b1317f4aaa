"""A Prefect server of our own, for as long as this process lives; or the one that PREFECT_API_URL names."""

import contextlib
import fcntl
import hashlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.errors import ResourceError, StorageError
from infra.services.prefect_server import DATABASE, give_database
from infra.uri import parse_place

_START_LIMIT_S = 120.0
_POLL_S = 0.1
_STOP_LIMIT_S = 10.0
_HOST = "127.0.0.1"
_LOG = "server.log"
# Prefect reads them when it is first imported, which the commands do only after this.
_CLIENT_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}


@contextlib.contextmanager
def prefect_api(
    root: str, *, port: int = 0, brief: bool = True, meanwhile: Callable[[], object] | None = None
) -> Iterator[str]:
    """Provide a Prefect API: PREFECT_API_URL's, else a server started here, which ends with this process.

    Args:
        root: The root of all outputs; each has a server database of its own.
        port: Where to listen; 0 for any free port.
        brief: Nobody works in this server's UI: no log lines on the terminal, no block types in its database.
        meanwhile: Called while our own server starts, which takes seconds; PREFECT_API_URL is set by then.

    Yields:
        The API's URL.

    Raises:
        StorageError: If the server of PREFECT_API_URL does not answer.
        ResourceError: If our own does not start.
    """
    for name, value in _CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if brief:
        os.environ.setdefault("PREFECT_API_BLOCKS_REGISTER_ON_START", "false")
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        logging.getLogger("prefect").setLevel(logging.CRITICAL)
    given = os.environ.get("PREFECT_API_URL")
    if given:
        if not _answers(given):
            raise StorageError(
                f"no Prefect server answers at {given}",
                item="PREFECT_API_URL",
                remedy="start it, or unset the variable to use one of our own",
            )
        yield given
        return
    port = port or _free_port()
    url = os.environ["PREFECT_API_URL"] = f"http://{_HOST}:{port}/api"
    try:
        with _state_folder(root) as folder, _server(folder, port, url) as process:
            if meanwhile is not None:
                meanwhile()
            _await(process, url, folder / _LOG)
            yield url
    finally:
        del os.environ["PREFECT_API_URL"]


@contextlib.contextmanager
def _state_folder(root: str) -> Iterator[Path]:
    """The folder of this root's server database; a temporary one where another run holds it."""
    name = hashlib.sha256(parse_place(root).uri.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows" / f"prefect-{name}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock = (base / "lock").open("w")
    except OSError:
        lock = None
    with contextlib.ExitStack() as stack:
        if lock is not None:
            stack.enter_context(lock)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield base
                return
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddpm-prefect-", ignore_cleanup_errors=True)))


@contextlib.contextmanager
def _server(folder: Path, port: int, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / DATABASE}",
        "PREFECT_API_URL": url,
        "PREFECT_UI_API_URL": url,
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    give_database(folder)
    command = [sys.executable, "-m", "infra.services.prefect_server", str(port), str(os.getpid())]
    # A log file and no pipe of ours: whoever reads our output must not wait for the server to end.
    with (folder / _LOG).open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ResourceError(
                "the Prefect server did not start",
                item=str(log),
                remedy="see the log; run again, or set PREFECT_API_URL",
            )
        time.sleep(_POLL_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])
