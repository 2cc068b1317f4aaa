"""Ray's client of a jobs server, with limits and plain errors, which it lacks."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from infra.compute.ray_errors import first_line
from infra.errors import ConfigError, ResourceError
from infra.storage.download import without_secrets

REQUEST_S = 20.0
# In the error of a request about a job that the server does not know.
UNKNOWN = "status code 404"
# From here on an answer says that the server, or one behind it, cannot serve now.
_FAULT = 500
_LONGEST = 200
# Errors of a client that cannot be opened; the last three if another program answers.
NO_CLIENT = (OSError, RuntimeError, KeyError, TypeError, ValueError)
# Ray prefers them to the address that it is given.
_OVERRIDING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class ServerFaultError(ConnectionError):
    """The server answers that it cannot serve now, as one does that is starting, or a proxy whose server is away."""


def check_versions(theirs: str, ours: str, address: str) -> None:
    """Refuse a cluster with another version of Ray.

    Raises:
        ConfigError: If the versions differ.
    """
    if theirs != ours:
        raise ConfigError(
            f"runs Ray {theirs}, and this is Ray {ours}",
            item=f"cluster {without_secrets(address)}",
            remedy="install the same release of ddpm-flows, with its constraints, here and on the cluster",
        )


def open_client(address: str) -> Any:  # noqa: ANN401 - Ray's own type
    """Return Ray's client with a limit to each request, which it lacks."""
    # Not with this module: Ray takes half a second, and every command imports this one.
    import ray
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc] # Ray has no types
        own_version = ray.__version__

        @property
        def server_version(self) -> str:
            return str(self._server_ray_version)

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:  # noqa: ANN401 - as Ray's own
            try:
                answer = super()._do_request(method, endpoint, timeout=REQUEST_S, **options)
            except AuthenticationError as error:
                raise _token_error(str(error), address) from error
            if answer.status_code >= _FAULT:
                raise ServerFaultError(f"status code {answer.status_code}{_reason(answer.text)}")
            return answer

    with _without(_OVERRIDING):
        return Client(address)


def visit(address: str) -> str:
    """Return the version of Ray of a jobs server that answers and takes our calls, which is ours.

    Raises:
        ConfigError: If it refuses our token, or has another version of Ray.
        ResourceError: If it does not answer, or another program answers.
    """
    try:
        client = open_client(address)
        client.list_jobs()
    except NO_CLIENT as error:
        raise connection_error(error, address) from error
    check_versions(client.server_version, client.own_version, address)
    return str(client.server_version)


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Take variables out of the environment for a while."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _reason(text: str) -> str:
    """Return the last line of a traceback of the server, and nothing of any other text, such as a page of a proxy."""
    lines = text.strip().splitlines()
    return f": {lines[-1][:_LONGEST]}" if lines and lines[0].startswith("Traceback") else ""


def _token_error(message: str, address: str) -> ConfigError:
    return ConfigError(
        "wants a token" if message.startswith("Authentication required") else "refuses our token",
        item=f"jobs server {without_secrets(address)}",
        remedy="set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token",
    )


def connection_error(error: Exception, address: str) -> ConfigError | ResourceError:
    """Return the error of a client that could not be opened, in one line."""
    item = f"jobs server {without_secrets(address)}"
    if "ray[default]" in str(error):
        return ConfigError("needs more packages here", item=item, remedy="pip install 'ddpm-flows[jobs]'")
    return ResourceError(
        f"does not answer ({failed_request(error)})",
        item=item,
        remedy="check its address, and that 'ddpm-flows[jobs]' is installed on Ray's head",
    )


def failed_request(error: Exception) -> str:
    """Return the words of a failed request, without the repetition of the address in those of `requests`."""
    # Ray's client replaces some errors by its own, without the words.
    named = re.search(r"(?:\[Errno \d+\]|NameResolutionError|timed out)[^)'\"]*", f"{error} {error.__context__}")
    return named[0].strip() if named else first_line(error)
