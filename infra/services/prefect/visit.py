"""A visit to somebody's Prefect server, which changes nothing there."""

import os

from infra.errors import ConfigError, StorageError

_REFUSALS = (401, 403)
_LONGEST = 200


def visit(url: str) -> str:
    """Return the version of a Prefect server that answers and takes our calls.

    Args:
        url: Its API.

    Raises:
        StorageError: If nothing answers there, or its database does not, or another program answers.
        ConfigError: If it does not take the credentials of the user's settings.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    settings = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        try:
            version = client.request("GET", "/admin/version").json()
            # The server's own database answers this one.
            count = client.request("POST", "/flows/count", json={}).json()
        except Exception as error:  # whatever a server or another program answers
            raise _fault(error, url) from error
    if not isinstance(version, str) or not isinstance(count, int):
        raise _fault(ValueError("another program answers"), url)
    return version


def _fault(error: Exception, url: str) -> ConfigError | StorageError:
    item = f"PREFECT_API_URL {url}" if os.environ.get("PREFECT_API_URL") else f"Prefect's settings {url}"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in _REFUSALS:
        given = next((name for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING") if os.environ.get(name)), "")
        return ConfigError(
            f"the server refuses the key of {given} ({status})" if given else f"the server wants a key ({status})",
            item=item,
            remedy="set PREFECT_API_AUTH_STRING to user:password of the server; for Prefect Cloud PREFECT_API_KEY",
        )
    why = f"HTTP {status}" if status else (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST]
    return StorageError(
        f"no Prefect server answers ({why or type(error).__name__})",
        item=item,
        remedy="start it, or unset it for a server of our own; `prefect config view` says where it comes from",
    )
