"""The servers of a `ddpm up`: which process has them, where they are, and an end to those that a killed one left."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.compute.processes import end_marked
from infra.storage.aside import ANOTHER_CACHE, own_state
from infra.storage.uri import parse_place

_FILE, _LOCK = "servers.json", "lock"
_ATTEMPTS, _PAUSE_S = 5, 0.1


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The servers as they are written down.

    Attributes:
        pid: The process of the `ddpm up`.
        mark: The mark in the environment of all processes that belong to it.
        pages: The address of each server's pages, by its name; of those too that the user's variables name.
        variables: The variables that lead other commands to the servers.
        is_ready: Whether all answer by now.
    """

    pid: int
    mark: str = ""
    pages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    is_ready: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The claim on a root's servers.

    Attributes:
        folder: The folder of their state and logs.
        is_ours: Whether this process has it; else another `ddpm up` does.
        standing: The servers of that one, or those that an earlier one left.
    """

    folder: Path
    is_ours: bool
    standing: Standing | None

    def write(self, standing: Standing) -> None:
        """Write the servers down for other commands, and for the next `ddpm up` if this one is killed."""
        file = self.folder / _FILE
        aside = file.with_suffix(".new")
        with own_state(self.folder, ANOTHER_CACHE):
            aside.write_text(json.dumps(asdict(standing)))
            aside.replace(file)

    def clear(self) -> None:
        """Forget the servers, once they have ended."""
        (self.folder / _FILE).unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """End the processes that a killed `ddpm up` left, known by its mark, and no others; return their number."""
        if not self.is_ours or self.standing is None:
            return 0
        ended = end_marked(self.standing.mark)
        self.clear()
        return ended


@contextlib.contextmanager
def claim(root: str) -> Iterator[Claim]:
    """Claim the servers of a root for this process, as far as no other process has them.

    Raises:
        ConfigError: If the folder of their state cannot be written.
        ResourceError: If its disk is full.
    """
    folder = _folder(root)
    with contextlib.ExitStack() as stack:
        with own_state(folder, ANOTHER_CACHE):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("w"))
            is_ours = _locked(lock.fileno(), fcntl.LOCK_EX, _ATTEMPTS)
        yield Claim(folder=folder, is_ours=is_ours, standing=_read(folder))


def find(root: str) -> Standing | None:
    """Return the servers of the `ddpm up` that has this root now; None if there is none."""
    folder = _folder(root)
    with contextlib.suppress(OSError), (folder / _LOCK).open() as lock:
        return None if _locked(lock.fileno(), fcntl.LOCK_SH, 1) else _read(folder)
    return None


def _locked(lock: int, kind: int, attempts: int) -> bool:
    """Lock a file, which the system unlocks however this process ends; False if another process has it.

    Args:
        lock: The file's descriptor.
        kind: Shared or exclusive.
        attempts: More than one, since `find` holds the lock for a moment.
    """
    for attempt in range(attempts):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        if attempt < attempts - 1:
            time.sleep(_PAUSE_S)
    return False


def _folder(root: str) -> Path:
    name = hashlib.sha256(parse_place(root).uri.encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows" / f"up-{name}"


def _read(folder: Path) -> Standing | None:
    try:
        values: dict[str, Any] = json.loads((folder / _FILE).read_text())
        return Standing(**values)
    except (OSError, ValueError, TypeError):
        return None
