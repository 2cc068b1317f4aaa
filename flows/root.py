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
_ID = ".root"


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


def root_id(store: Store) -> str:
    """Return the random name that a root has from its first tracked run on; it is made if there is none.

    Two machines may have roots of one path, so a path alone does not tell whose a run is.

    Raises:
        StorageError: If the store does not answer.
    """
    store.put_if_absent(_ID, uuid.uuid4().hex.encode())
    return store.read(_ID).decode()


def known_root_id(store: Store) -> str:
    """Return that name; empty if there is none.

    Raises:
        StorageError: If the store does not answer.
    """
    try:
        return store.read(_ID).decode()
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
