"""Addresses of MLflow's pages; the address of the server itself, and its errors, in a form that may be shown."""

import shlex
from urllib.parse import unquote

from infra.errors import StorageError

# The address of `mlflow ui` unless it is started with another port.
_OWN_SERVER = "http://127.0.0.1:5000"
_MAX_REASON = 200


def shown(uri: str) -> str:
    """The tracking URI without the user name and password that it may hold."""
    scheme, separator, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rsplit('@', 1)[-1]}{slash}{path}"


def shown_reason(error: Exception, uri: str) -> str:
    """The first line of an error, without the user name and password of the server's URI."""
    # MLflow's own errors quote the address with the password in it.
    text = str(error).replace(uri.rstrip("/"), shown(uri).rstrip("/"))
    place = uri.partition("://")[2].partition("/")[0].rpartition("@")[0]
    password = place.partition(":")[2]
    for secret in (f"{place}@", password, unquote(password)):
        text = text.replace(secret, "***") if secret.strip("@") else text
    text = "".join(char if char.isprintable() else " " for char in (text.strip().splitlines() or [""])[0])
    return text[:_MAX_REASON] or type(error).__name__


def no_answer(error: Exception, uri: str) -> StorageError:
    """Return the error of a server that does not answer, without the password of its URI."""
    return StorageError(
        f"MLflow at {shown(uri)} did not answer ({shown_reason(error, uri)})",
        remedy="run the same command again once it does",
    )


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """The page of one run, or nothing if no server listens at the URI."""
    return f"{_base(uri)}/#/experiments/{experiment_id}/runs/{run_id}" if _is_server(uri) else ""


def runs_page(uri: str, experiment_id: str) -> str:
    """The page that lists an experiment's runs; for a store without a server, the page that `mlflow ui` will serve."""
    base = _base(uri) if _is_server(uri) else _OWN_SERVER
    # Without the parameter MLflow 3.17 opens an experiment as an application of language models and hides the runs.
    return f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def server_command(uri: str) -> str:
    """The command that serves the pages of a store on this machine, or nothing for any other URI."""
    is_local = uri.startswith(("sqlite:", "file:")) or (uri != "" and ":" not in uri and uri != "databricks")
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}" if is_local else ""


def _is_server(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))


def _base(uri: str) -> str:
    return shown(uri).rstrip("/")
