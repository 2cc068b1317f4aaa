"""A place for work in progress beside its target, held by one process, that a later process finds again.

`infra.storage.aside` has a new name for each attempt. Here the name follows from the target, so that an attempt that
was killed is continued, or at least leaves nothing behind.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flows.exchange.files import check_free
from infra.errors import ConflictError


def partial_place(target: Path) -> Path:
    """Return the place of the work on a target: a hidden name beside it."""
    return target.with_name(f".{target.name}.ddpm-partial")


@contextlib.contextmanager
def partial_file(target: Path) -> Iterator[BinaryIO]:
    """Provide an empty file: it becomes `target` if the block succeeds, else it is removed.

    Raises:
        ConflictError: If another process writes it.
        ConfigError: If something has taken the target's name meanwhile.
    """
    place = partial_place(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _held(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as handle:
        try:
            os.ftruncate(handle, 0)
            with os.fdopen(os.dup(handle), "w+b") as file:
                yield file
                file.flush()
                os.fsync(handle)
            check_free(target)
            place.rename(target)
        except BaseException:
            place.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Provide a folder: it becomes `target` if the block succeeds, else it is kept for the next attempt.

    Raises:
        ConflictError: If another process works in it.
        ConfigError: If something has taken the target's name meanwhile.
    """
    place = partial_place(target)
    place.mkdir(parents=True, exist_ok=True)
    with _held(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW):
        yield place
        check_free(target)
        place.rename(target)


@contextlib.contextmanager
def _held(place: Path, flags: int) -> Iterator[int]:
    """Open a file or folder for this process alone; the lock ends with the process."""
    handle = os.open(place, flags, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have given it its final name since it was opened here.
            held = place.exists() and os.path.samestat(os.fstat(handle), place.stat())
        except BlockingIOError:
            held = False
        if not held:
            raise ConflictError(
                "another export writes this", item=str(place), remedy="wait for its end, or choose another name"
            )
        yield handle
    finally:
        os.close(handle)
