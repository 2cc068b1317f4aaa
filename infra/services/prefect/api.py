"""A Prefect API for as long as a command lives: the one that the user's settings name, else a server of our own."""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConflictError, StorageError, Term
from infra.services.prefect.leftovers import mark_lost_runs
from infra.services.prefect.supervisor import OwnServer, claim_port, identity
from infra.storage.uri import parse_place

_SERVING = "serving.json"
_DELIVERY_LIMIT_S = 5.0
# Prefect reads them when it is first imported, which the commands do only after this.
_CLIENT_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # The warnings of our own loggers belong to the log of the run too.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,infra",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
# Lines go to the API for the run's page; the terminal has its own.
_QUIET_ENVIRONMENT = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
_BRIEF_ENVIRONMENT = {"PREFECT_API_BLOCKS_REGISTER_ON_START": "false"}


@dataclass(frozen=True, kw_only=True)
class PrefectApi:
    """An API that answers.

    Attributes:
        url: Where, ending in `/api`.
        server: Our own server, if it is one.
    """

    url: str
    server: OwnServer | None = None

    @property
    def ui(self) -> str:
        """The address of its pages."""
        return self.url.removesuffix("/").removesuffix("/api")


@contextlib.contextmanager
def prefect_api(
    root: str,
    *,
    say: Callable[[str], None],
    port: int = 0,
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
        serve: People work with its pages; else it serves one command.
        meanwhile: Called while our own server starts, which takes seconds; PREFECT_API_URL is set by then.

    Raises:
        StorageError: If the server that the settings name does not answer.
        ConflictError: If `serve` and another process has this root's server.
        ResourceError: If the port is taken, or our own server does not start.
    """
    quiet = _QUIET_ENVIRONMENT | ({} if serve else _BRIEF_ENVIRONMENT)
    with _environment(_CLIENT_ENVIRONMENT | quiet), contextlib.ExitStack() as stack:
        stack.enter_context(_environment({"PREFECT_LOCAL_STORAGE_PATH": stack.enter_context(_temporary())}))
        url = _named_by_settings()
        if url:
            _check(url)
            stack.callback(_deliver)
            yield PrefectApi(url=url)
            return
        folder, owned = stack.enter_context(_state_folder(root))
        if not owned:
            neighbour = _serving(folder)
            if serve:
                raise _held(root, neighbour)
            if neighbour:
                stack.enter_context(_used(neighbour))
                stack.callback(_deliver)
                yield PrefectApi(url=neighbour)
                return
            folder = Path(stack.enter_context(_temporary()))
        server = OwnServer(folder, claim_port(port), say)
        stack.enter_context(_used(server.url))
        server.start()
        stack.callback(server.stop)
        stack.callback(_deliver)
        if meanwhile is not None:
            meanwhile()
        server.await_answer()
        for name in mark_lost_runs(server.url):
            say(f"run {name} ended with its server and is marked as crashed; a new run of it goes on where it stopped")
        if serve:
            stack.enter_context(_announced(folder, server.url))
        yield PrefectApi(url=server.url, server=server)


def _named_by_settings() -> str:
    """The API that the user's Prefect settings name, or nothing."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    if not _has_settings_files():
        return ""
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url or "")


def _has_settings_files() -> bool:
    """Tell whether Prefect could find settings in a file; asking Prefect itself takes two seconds of import."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if os.environ.get("PREFECT_PROFILE") or profiles.is_file() or Path("prefect.toml").is_file():
        return True
    with contextlib.suppress(OSError):
        if "prefect_" in Path(".env").read_text(errors="replace").lower():
            return True
    with contextlib.suppress(OSError, ValueError):
        return "prefect" in tomllib.loads(Path("pyproject.toml").read_text()).get("tool", {})
    return False


def _check(url: str) -> None:
    """Ask whoever answers whether it is a Prefect server, with the credentials of the user's settings.

    Raises:
        StorageError: If nothing answers there, or something else.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    settings = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is None:
            try:
                if not isinstance(client.api_version(), str):
                    problem = ValueError("another program does")
            except Exception as error:  # whatever another program answers
                problem = error
    if problem is not None:
        raise StorageError(
            f"no Prefect server answers at {url} ({str(problem).splitlines()[0][:200] or type(problem).__name__})",
            item="PREFECT_API_URL" if os.environ.get("PREFECT_API_URL") else "Prefect's settings",
            remedy="start it, or unset it to use a server of our own; `prefect config view` says where it comes from",
        )


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    """A folder that goes with this process; Prefect would keep failures in the user's home for ever."""
    return tempfile.TemporaryDirectory(prefix="ddpm-prefect-", ignore_cleanup_errors=True)


def _deliver() -> None:
    """Send the lines and events that Prefect still holds back, while the server is there to take them."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DELIVERY_LIMIT_S)


@contextlib.contextmanager
def _state_folder(root: str) -> Iterator[tuple[Path, bool]]:
    """The folder of this root's server database, and whether this process has it for itself."""
    name = hashlib.sha256(parse_place(root).uri.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows" / f"prefect-{name}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock = (base / "lock").open("w")
    except OSError:
        yield base, False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield base, False
            return
        yield base, True


@contextlib.contextmanager
def _announced(folder: Path, url: str) -> Iterator[None]:
    """Tell other commands of this root where its server is."""
    file = folder / _SERVING
    file.write_text(json.dumps({"url": url, "identity": identity(url), "pid": os.getpid()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _serving(folder: Path) -> str:
    """The API of the `ddpm serve` that has this folder, if it is the one that answers there."""
    try:
        about = json.loads((folder / _SERVING).read_text())
        url, mark = str(about["url"]), str(about["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return url if mark and identity(url) == mark else ""


def _held(root: str, neighbour: str) -> ConflictError:
    at = (
        f"another `ddpm serve` at {neighbour.removesuffix('/api')}"
        if neighbour
        else "a `ddpm run`, which has a server of its own"
    )
    return ConflictError(
        f"its schedules are in use by {at}",
        item=f"root {parse_place(root).uri}",
        remedy=f"wait for it to end, or choose {Term.ANOTHER_ROOT}"
        if not neighbour
        else f"use that one, or choose {Term.ANOTHER_ROOT}",
    )


@contextlib.contextmanager
def _used(url: str) -> Iterator[None]:
    """Make this API the one of this process and of those that it starts."""
    with contextlib.ExitStack() as stack:
        stack.callback(_reread_settings)
        stack.enter_context(_environment({"PREFECT_API_URL": url}))
        _reread_settings()
        if "prefect" in sys.modules:  # settings of this thread alone would hide those of the environment
            from prefect.settings import PREFECT_API_URL, temporary_settings

            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        yield


def _reread_settings() -> None:
    """Have Prefect, if it is imported already, read its settings again: new threads go by what it has read."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, and take them back."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
