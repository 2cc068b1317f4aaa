"""The folder of a root's server database: which process has it, and where that process serves it."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from infra.errors import ConfigError, ConflictError, ResourceError, Term
from infra.services.prefect.supervisor import identity
from infra.storage.aside import ANOTHER_CACHE, own_state
from infra.storage.uri import parse_place

_SERVING = "serving.json"


@contextlib.contextmanager
def state_folder(root: str, *, needed: bool = False) -> Iterator[tuple[Path, bool]]:
    """Provide the folder of this root's server database, and whether this process has it for itself.

    Args:
        root: The root of all outputs.
        needed: Refuse a folder that cannot be written; else such a folder counts as another process's.

    Raises:
        ConfigError: If the folder is needed and cannot be written.
        ResourceError: If it is needed and its disk is full.
    """
    name = hashlib.sha256(parse_place(root).uri.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows" / f"prefect-{name}"
    with contextlib.ExitStack() as stack:
        try:
            with own_state(base, ANOTHER_CACHE):
                base.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((base / "lock").open("w"))
                is_ours = _locked(lock.fileno())
        except (ConfigError, ResourceError):
            if needed:
                raise
            is_ours = False
        yield base, is_ours


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def announcement(folder: Path, url: str) -> Iterator[None]:
    """Announce this root's server to other commands."""
    file = folder / _SERVING
    with own_state(folder, ANOTHER_CACHE):
        file.write_text(json.dumps({"url": url, "identity": identity(url), "pid": os.getpid()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def neighbour_api(folder: Path) -> str:
    """The API of the `ddpm serve` that has this folder, if it is the one that answers there."""
    try:
        about = json.loads((folder / _SERVING).read_text())
        url, mark = str(about["url"]), str(about["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return url if mark and identity(url) == mark else ""


def conflict(root: str, neighbour: str) -> ConflictError:
    """Return the error of a `ddpm serve` whose root another process has; `neighbour` is its API, if it serves one."""
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
