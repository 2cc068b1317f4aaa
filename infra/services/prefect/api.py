"""A Prefect API for as long as a command lives: the one that the user's settings name, else a server of our own."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.services.prefect.leftovers import mark_lost_runs
from infra.services.prefect.settings import (
    BRIEF_ENVIRONMENT,
    BRIEF_SERVER_VARIABLE,
    CLIENT_ENVIRONMENT,
    PAGES_PORT,
    QUIET_ENVIRONMENT,
    api_in_use,
    check_server,
    environment_variables,
    key_in_use,
    named_by_settings,
    server_key,
)
from infra.services.prefect.state_folder import announcement, conflict, neighbour_api, state_folder
from infra.services.prefect.supervisor import HOST, OwnServer, claim_port
from infra.storage.download import without_secrets

_DELIVERY_LIMIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class PrefectApi:
    """An API that answers.

    Attributes:
        url: Its address, ending in `/api`.
        server: Our own server; None if the API is another's.
    """

    url: str
    server: OwnServer | None = None

    @property
    def ui(self) -> str:
        """The address of its pages."""
        return without_secrets(self.url.removesuffix("/").removesuffix("/api"))


@contextlib.contextmanager
def prefect_api(
    root: str,
    *,
    say: Callable[[str], None],
    port: int = 0,
    host: str = HOST,
    serve: bool = False,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[PrefectApi]:
    """Provide a Prefect API.

    Prefect's own settings come first, wherever the user made them: PREFECT_API_URL, a profile, prefect.toml, .env. Next
    comes a `ddpm serve` of the same root, so that its pages show every run. Else a server starts here, and ends with
    this process.

    Args:
        root: The root of all outputs; each has a server database of its own.
        say: Called with lines for the terminal.
        port: Where our own server listens; 0 for any free port.
        host: The address that it listens on, as a name or a number.
        serve: Whether people work with its pages; else it serves one command.
        meanwhile: Called while our own server starts, which takes seconds; PREFECT_API_URL is set by then.

    Raises:
        StorageError: If the server that the settings name does not answer.
        ConfigError: If it refuses the key of the settings, `host` is no address of this machine, or `serve` and the
            folder of the server's database cannot be written.
        ConflictError: If `serve` and another process has this root's server.
        ResourceError: If the port is taken, or our own server does not start.
    """
    quiet = QUIET_ENVIRONMENT | ({} if serve else BRIEF_ENVIRONMENT)
    with environment_variables(CLIENT_ENVIRONMENT | quiet), contextlib.ExitStack() as stack:
        stack.enter_context(environment_variables({"PREFECT_LOCAL_STORAGE_PATH": stack.enter_context(_temporary())}))
        url = named_by_settings()
        if url:
            check_server(url)
            stack.callback(_deliver)
            yield PrefectApi(url=url)
            return
        folder, owned = stack.enter_context(state_folder(root, needed=serve))
        if not owned:
            neighbour = neighbour_api(folder)
            if serve:
                raise conflict(root, neighbour)
            if neighbour:
                stack.enter_context(api_in_use(neighbour))
                check_server(neighbour)  # which may ask for a key
                stack.callback(_deliver)
                yield PrefectApi(url=neighbour)
                return
            folder = Path(stack.enter_context(_temporary()))
        elif not serve:
            # The server's port closes with this command, but its pages are shown again by the next one that serves.
            stack.enter_context(environment_variables({"PREFECT_UI_URL": f"http://{HOST}:{PAGES_PORT}"}))
        if not serve:
            stack.enter_context(environment_variables({BRIEF_SERVER_VARIABLE: "1"}))
        server = stack.enter_context(_own_server(folder, port, host, say, meanwhile))
        if serve:
            stack.enter_context(announcement(folder, server.url))
        yield PrefectApi(url=server.url, server=server)


@contextlib.contextmanager
def _own_server(
    folder: Path, port: int, host: str, say: Callable[[str], None], meanwhile: Callable[[], object] | None
) -> Iterator[OwnServer]:
    """Provide a server of our own that answers, with the key that the user's settings give it."""
    key = server_key()
    server = OwnServer(folder, claim_port(port, host), say, host=host, key=key)
    with key_in_use(key), api_in_use(server.url), contextlib.ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        stack.callback(_deliver)
        if meanwhile is not None:
            meanwhile()
        server.await_answer()
        for name in mark_lost_runs(server.url, key):
            say(f"run {name} ended with its server and is marked as crashed; a new run of it goes on where it stopped")
        yield server


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    """A folder that ends with this process; Prefect would keep failures in the user's home for ever."""
    return tempfile.TemporaryDirectory(prefix="ddpm-prefect-", ignore_cleanup_errors=True)


def _deliver() -> None:
    """Send the lines and events that Prefect still holds back while the server lives."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DELIVERY_LIMIT_S)
