"""Files and folders written aside, under names of their own, so that their final names appear at once and whole."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from infra.errors import ConfigError, ResourceError

# The errors of a full disk, a full quota and a file too large for its file system.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_YOURS = "to a folder of yours that can be written"
# Remedies if our own state cannot be written.
ANOTHER_CACHE = f"set XDG_CACHE_HOME {_YOURS}"
ANOTHER_STATE = f"set XDG_STATE_HOME {_YOURS}"


@contextlib.contextmanager
def spare(folder: Path, prefix: str = "") -> Iterator[Path]:
    """Yield a free name in a folder; afterwards remove the file or folder that still has it.

    Args:
        folder: Made if it does not exist.
        prefix: The start of the name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{prefix}{uuid.uuid4().hex}"
    try:
        yield place
    finally:
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


@contextlib.contextmanager
def own_state(folder: Path, remedy: str) -> Iterator[None]:
    """Raise in one line what keeps the block from writing to a folder of our own state.

    Args:
        folder: The folder.
        remedy: The way to another folder, such as a variable to set.

    Raises:
        ResourceError: If its disk is full.
        ConfigError: If it cannot be written for any other reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceError(
                f"no space left ({error.strerror})", item=f"folder {folder}", remedy=f"free some, or {remedy}"
            ) from error
        raise ConfigError(
            f"cannot be written ({error.strerror or error})", item=f"folder {folder}", remedy=remedy
        ) from error


@contextlib.contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Yield a free name beside `target`; what the block wrote there takes the place of `target`, unless it raises.

    Raises:
        OSError: If the folder cannot be written, or nothing was.
    """
    with spare(target.parent, f".{target.name}.") as place:
        yield place
        place.replace(target)


def write_synced(file: Path, data: bytes) -> None:
    """Write a new file; return once its bytes are on the disk.

    Raises:
        OSError: If there is such a file already, or it cannot be written.
    """
    with file.open("xb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
