"""Where outputs go."""

import hashlib
import os
from pathlib import Path

from infra.storage.uri import parse_place

DEFAULT_ROOT = "ddpm-runs"


def resolve_root(root: str) -> str:
    """The place of all outputs: what was given, else DDPM_ROOT, else ./ddpm-runs."""
    return root or os.environ.get("DDPM_ROOT", "") or DEFAULT_ROOT


def local_folder(root: str) -> Path:
    """Where files lie that a root's runs need and no object store can hold, such as a database.

    Beside the outputs where the root is a local folder; else below XDG_STATE_HOME, a folder for each root.
    """
    place = parse_place(root)
    if place.scheme == "file":
        return Path(place.path)
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".local" / "state"
    return base / "ddpm-flows" / hashlib.sha256(place.uri.encode()).hexdigest()[:16]
