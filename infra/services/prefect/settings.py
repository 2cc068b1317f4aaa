"""Prefect's settings: the API that the user's settings name, and the variables that we set while a command lives."""

import contextlib
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from infra.errors import ConfigError, StorageError
from infra.storage.download import without_secrets

# Prefect reads them when it is first imported, and the commands import it only after they are set.
CLIENT_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # The warnings of our own loggers belong to the log of the run too.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,infra",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
# Lines go to the API for the run's page; the terminal has its own.
QUIET_ENVIRONMENT = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
_REFUSALS = (401, 403)
# Where `serve` shows the pages of our own server, unless the user names another port.
PAGES_PORT = 4200
# Set if the server ends with the command that started it, for that command and those that it starts.
BRIEF_SERVER_VARIABLE = "DDPM_BRIEF_SERVER"
BRIEF_ENVIRONMENT = {"PREFECT_API_BLOCKS_REGISTER_ON_START": "false"}


def named_by_settings() -> str:
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


def server_key() -> str:
    """Return the `user:password` that our own server asks for by the user's settings, or nothing."""
    if key := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        return key
    if not _has_settings_files():
        return ""
    from prefect.settings import get_current_settings

    secret = get_current_settings().server.api.auth_string
    return secret.get_secret_value() if secret is not None else ""


@contextlib.contextmanager
def key_in_use(key: str) -> Iterator[None]:
    """Let this process and those that it starts show our own server its key; an empty one changes nothing."""
    if not key:
        yield
        return
    # The user's own key is another server's, and a client prefers either of the two in some version.
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        with environment_variables({"PREFECT_API_AUTH_STRING": key}):
            _reread_settings()
            yield
    finally:
        os.environ.update(before)
        _reread_settings()


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [""])[0][:200] or type(problem).__name__


def check_server(url: str) -> None:
    """Check that a Prefect server answers at a URL, with the credentials of the user's settings.

    Raises:
        StorageError: If nothing answers there, or something else.
        ConfigError: If it asks for a key and does not take that of the settings.
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
    place = without_secrets(url)
    item = "PREFECT_API_URL" if os.environ.get("PREFECT_API_URL") else "Prefect's settings"
    status = getattr(getattr(problem, "response", None), "status_code", 0)
    if status in _REFUSALS:
        raise ConfigError(
            f"the Prefect server at {place} refuses the key of these settings, or asks for one that they lack",
            item=item,
            remedy="set PREFECT_API_AUTH_STRING to the server's user:password, or PREFECT_API_KEY for Prefect Cloud",
        )
    if problem is not None:
        raise StorageError(
            f"no Prefect server answers at {place} ({_first_line(problem).replace(url, place)})",
            item=item,
            remedy="start it, or unset it to use a server of our own; `prefect config view` says where it comes from",
        )


@contextlib.contextmanager
def api_in_use(url: str) -> Iterator[None]:
    """Make this API the one of this process and of those that it starts."""
    with contextlib.ExitStack() as stack:
        stack.callback(_reread_settings)
        stack.enter_context(environment_variables({"PREFECT_API_URL": url}))
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
def environment_variables(values: dict[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, and take them back."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
