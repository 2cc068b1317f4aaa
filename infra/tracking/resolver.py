"""Addresses of registered models, models:/NAME@ALIAS or models:/NAME/VERSION, to the files of their weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from infra.errors import ConfigError, InputError, StorageError, Term
from infra.tracking.environment import set_environment
from infra.tracking.pages import shown, shown_reason

_SCHEME = "models:"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@:]+)(@(?P<alias>[^/@:]+)|/(?P<version>[0-9]+))")
_FORMS = "give models:/NAME@ALIAS, such as models:/digits@champion, or models:/NAME/VERSION"
_SQLITE = "sqlite:///"


class RegisteredFile(NamedTuple):
    """The file of a registered version.

    Attributes:
        uri: The address of the weights.
        sha256: The digest that they were registered with.
        version: The version's address, such as models:/digits/3.
        tags: All that was noted of it.
    """

    uri: str
    sha256: str
    version: str
    tags: Mapping[str, str]


def is_registered(text: str) -> bool:
    """Tell whether a text is the address of a registered model instead of a file's."""
    return text.startswith(_SCHEME)


def registered_file(address: str, tracking_uri: str) -> RegisteredFile:
    """Look up a registered model.

    Args:
        address: models:/NAME@ALIAS or models:/NAME/VERSION.
        tracking_uri: MLflow's tracking URI.

    Raises:
        ConfigError: If the address has another form.
        InputError: If there is no such model, alias or version, or it was not registered by a run of ours.
        StorageError: If the server does not answer.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ConfigError("is not the address of a registered model", item=address, remedy=_FORMS)
    place, name = shown(tracking_uri), parts["name"]
    found = _look_up(address, tracking_uri, name, parts["version"] or "", parts["alias"] or "")
    if found is None:
        raise InputError(
            f"no such registered model in MLflow at {place}",
            item=address,
            remedy=f"look at its list of models, set MLFLOW_TRACKING_URI, or choose {Term.ANOTHER_ROOT}",
        )
    version, tags = f"models:/{name}/{found[0]}", found[1]
    if "ddpm.uri" not in tags or "ddpm.sha256" not in tags:
        raise InputError(
            "was not registered by a run of ours: it names no snapshot", item=version, remedy="choose another version"
        )
    return RegisteredFile(tags["ddpm.uri"], tags["ddpm.sha256"], version, tags)


def registered_weights(tracking_uri: str) -> dict[str, str]:
    """Return the registered versions, such as models:/digits/3, by the addresses of their weights.

    Args:
        tracking_uri: MLflow's tracking URI; a local database that is not there has none.

    Raises:
        StorageError: If the server does not answer.
    """
    if _is_missing(tracking_uri):
        return {}
    set_environment()
    # Imported here, as below.
    from infra.tracking.registry import ModelRegistry
    from infra.tracking.store import make_client

    try:
        return ModelRegistry(make_client(tracking_uri)).uris()
    except Exception as error:  # because each kind of server raises errors of its own
        raise StorageError(
            f"MLflow at {shown(tracking_uri)} did not answer ({shown_reason(error, tracking_uri)})",
            item="registered models",
            remedy="try again once it does",
        ) from error


def _is_missing(uri: str) -> bool:
    """Tell whether a URI is that of a local database that is not there, because MLflow would make it."""
    return uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists()


def _look_up(address: str, uri: str, name: str, version: str, alias: str) -> tuple[str, dict[str, str]] | None:
    if _is_missing(uri):
        return None
    set_environment()
    # Imported here, because MLflow takes seconds to load.
    from infra.tracking.registry import ModelRegistry
    from infra.tracking.store import make_client

    try:
        found = ModelRegistry(make_client(uri)).tags(name, version=version, alias=alias)
    except Exception as error:  # because each kind of server raises errors of its own
        raise StorageError(
            f"MLflow at {shown(uri)} did not answer ({shown_reason(error, uri)})",
            item=address,
            remedy="try again once it does, or give the file itself",
        ) from error
    return found and (found[0], dict(found[1]))
