"""The temporary folder that Ray keeps its sessions in, and the shared memory that it keeps objects in."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from infra.compute.system import Space, ray_temporary_folder, space
from infra.errors import ConfigError, ResourceError

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LONGEST_SOCKET = 107
# From here on Ray refuses objects: its local_fs_capacity_threshold.
_FULL = 0.95
_SHARED = Path("/dev/shm")
_LEAST_SHARED = 256 << 20


def check(_: Subject) -> Iterator[Finding]:
    """Write to the temporary folder, and look at the room in both."""
    folder = ray_temporary_folder()
    item = str(folder)
    if len(str(folder / _SOCKET)) > _LONGEST_SOCKET:
        raise ConfigError("too long for Ray's sockets", item=item, remedy="set RAY_TMPDIR to a shorter path")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror})", item=item, remedy="set TMPDIR and RAY_TMPDIR to another folder"
        ) from error
    room = space(folder)
    if room.used > _FULL:
        raise ResourceError(
            f"{100 * room.used:.0f} % full, and Ray takes nothing above {100 * _FULL:.0f} %",
            item=item,
            remedy="free some, or set RAY_TMPDIR to another disk",
        )
    yield fine(f"{in_words(room.free)} free", item=item)
    if _SHARED.is_dir():
        yield _shared(space(_SHARED))


def _shared(room: Space) -> Finding:
    if room.free < _LEAST_SHARED:
        cause = (
            f"{in_words(room.free)} of {in_words(room.total)} free; Ray then keeps objects on the disk, which is slower"
        )
        return doubt(cause, item=str(_SHARED), remedy="give a container more, such as --shm-size=1g")
    return fine(f"{in_words(room.free)} free", item=str(_SHARED))


def in_words(size: int) -> str:
    """Return a number of bytes in MiB or GiB, as people read it."""
    if size < 1 << 30:
        return f"{size >> 20} MiB"
    return f"{size / (1 << 30):.{1 if size < 10 << 30 else 0}f} GiB"
