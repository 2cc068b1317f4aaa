"""Facts about this machine that need neither Ray nor torch: memory, room on disks, Ray's temporary folder."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Space:
    """The room of a file system, in bytes.

    Attributes:
        total: All of it.
        free: What this user may still fill.
    """

    total: int
    free: int

    @property
    def used(self) -> float:
        """The share that is not free, from 0 to 1."""
        return 1 - self.free / self.total if self.total else 1.0


def space(folder: Path) -> Space:
    """Return the room of the file system of a folder.

    Raises:
        OSError: If there is no such folder.
    """
    found = shutil.disk_usage(folder)
    return Space(total=found.total, free=found.free)


def available_memory(file: Path = _MEMORY) -> int | None:
    """Return the memory in bytes that programs may still take; None if the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None


def ray_temporary_folder() -> Path:
    """Return the folder below which Ray keeps its sessions unless it is started with another one."""
    if folder := os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None):
        return Path(folder)
    return Path("/tmp") if sys.platform in ("linux", "darwin") else Path(tempfile.gettempdir())
