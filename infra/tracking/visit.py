"""A visit to a tracking server or database, which leaves nothing there."""

import logging
import urllib.error
import urllib.request

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from infra.errors import ConfigError, StorageError
from infra.tracking.pages import shown, shown_reason
from infra.tracking.store import make_client

_LIMIT_S = 10.0
_FORBIDDEN = 403
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")


def visit(uri: str, item: str) -> str:
    """Return the version of a tracking server that takes new experiments; empty for a database without a server.

    MLflow removes no experiment for good, so the one that is tried has the name of one that is there: a server that
    takes new ones tries to store it, and only then refuses the name.

    Args:
        uri: MLflow's tracking URI.
        item: The setting that names it, without a password, for errors.

    Raises:
        StorageError: If nothing answers there, or its database does not.
        ConfigError: If it does not take the credentials, or our address.
    """
    version = _version(uri, item) if uri.lower().startswith(("http://", "https://")) else ""
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    try:
        client = make_client(uri)
        found = client.search_experiments(view_type=ViewType.ALL, max_results=1)
        for experiment in found:
            _try_name(client, experiment.name)
    except Exception as error:  # whatever a server or a driver of a database raises
        raise _fault(error, uri, item) from error
    return version


def _try_name(client: MlflowClient, name: str) -> None:
    try:
        client.create_experiment(name)
    except MlflowException as error:
        if error.error_code != _EXISTS:
            raise


def _version(uri: str, item: str) -> str:
    """Return the version that a server tells everybody; "" if it wants to know first who asks."""
    base = shown(uri).rstrip("/")
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=_LIMIT_S) as reply:
            reply.read(16)
    except urllib.error.HTTPError as error:
        if error.code == _FORBIDDEN and b"host header" in error.read(200).lower():
            raise ConfigError(
                "the server refuses the name that it is called by (Invalid Host header)",
                item=item,
                remedy="start it with this host and port in --allowed-hosts",
            ) from error
    except (OSError, ValueError) as error:
        raise StorageError(
            f"no MLflow server answers ({shown_reason(error, uri)})",
            item=item,
            remedy="start it, or unset the variable to keep runs below the root",
        ) from error
    try:
        with urllib.request.urlopen(f"{base}/version", timeout=_LIMIT_S) as reply:
            return str(reply.read(32).decode(errors="replace")).strip()
    except (OSError, ValueError):
        return ""


def _fault(error: Exception, uri: str, item: str) -> ConfigError | StorageError:
    if isinstance(error, MlflowException) and error.error_code in _REFUSALS:
        return ConfigError(
            f"the server refuses us ({error.error_code})",
            item=item,
            remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    return StorageError(
        f"does not take a new experiment ({shown_reason(error, uri)})",
        item=item,
        remedy="see the server's log; a run goes on without MLflow, and the same command delivers later",
    )
