"""The root of all outputs, and a local folder for files that no object store can hold."""

import hashlib
import os
import uuid
from contextlib import AbstractContextManager
from pathlib import Path

from infra.errors import Term
from infra.storage.aside import ANOTHER_STATE, own_state
from infra.storage.store import Store
from infra.storage.uri import parse_place

DEFAULT_ROOT = "ddpm-runs"
_NAME = ".root"


def resolve_root(root: str) -> str:
    """Return the root of all outputs: `root` if it is not empty, else DDPM_ROOT, else ./ddpm-runs."""
    return root or os.environ.get("DDPM_ROOT", "") or DEFAULT_ROOT


def tracking_place(root: str) -> tuple[str, Path | None]:
    """Return MLflow's tracking URI, and the local folder of its database.

    The URI is MLFLOW_TRACKING_URI if that is set; there is then no folder. Otherwise the database is in `local_folder`.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI", ""):
        return uri, None
    folder = local_folder(root)
    return f"sqlite:///{folder / 'mlflow.db'}", folder


def writing_locally(root: str) -> AbstractContextManager[None]:
    """Return a block that raises in one line what keeps it from writing below `local_folder`.

    Raises:
        ConfigError: If it cannot be written.
        ResourceError: If the disk is full.
    """
    is_local = parse_place(root).scheme == "file"
    return own_state(local_folder(root), f"choose {Term.ANOTHER_ROOT}" if is_local else ANOTHER_STATE)


def named_root(store: Store) -> str:
    """Return a root's URI and the random name that it has from its first tracked run on.

    Two machines may have roots of one path, and a copied root has the name of the first.

    Raises:
        StorageError: If the store does not answer.
    """
    store.put_if_absent(_NAME, uuid.uuid4().hex.encode())
    return known_root(store)


def known_root(store: Store) -> str:
    """Return `named_root`; empty if the root has no name.

    Raises:
        StorageError: If the store does not answer.
    """
    try:
        return f"{store.uri} {store.read(_NAME).decode(errors='replace')}"
    except FileNotFoundError:
        return ""


def local_folder(root: str) -> Path:
    """Return the folder for files that an object store cannot hold, such as a database.

    If the root is local, this is the root itself. Otherwise it is a folder per root below XDG_STATE_HOME, or below
    ~/.local/state if that is not set to an absolute path.
    """
    place = parse_place(root)
    if place.scheme == "file":
        return Path(place.path)
    state_home = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = state_home if state_home.is_absolute() else Path.home() / ".local" / "state"
    return base / "ddpm-flows" / hashlib.sha256(place.uri.encode()).hexdigest()[:16]
