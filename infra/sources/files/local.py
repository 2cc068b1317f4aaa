"""Files of this machine: found below a folder, and opened as they were found."""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from operator import itemgetter

from infra.errors import DdpmError, InputError, StorageError
from infra.sources.files.file import File, changed
from infra.sources.files.pattern import Pattern


def local_files(base: str, wanted: Sequence[Pattern | None]) -> Iterator[File]:
    """Find the files below a folder that match a pattern and are not hidden, in the order of their names.

    Raises:
        InputError: If a folder cannot be listed, or a file cannot be read or is no regular file.
    """
    for name, entry in _walk(base, "", wanted):
        try:
            status = entry.stat()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=f"{base}/{name}") from error
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a file", item=f"{base}/{name}", remedy="remove it")
        yield File(name=name, size=status.st_size, stamp=stamp_of(status))


def _walk(base: str, folder: str, wanted: Sequence[Pattern | None]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """The files below a folder in the order of their names' characters, as an object store lists them."""
    try:
        with os.scandir(f"{base}/{folder}") as entries:
            found = sorted(((entry.name + "/" * entry.is_dir(), entry) for entry in entries), key=itemgetter(0))
    except OSError as error:
        raise InputError(f"cannot be listed ({error.strerror})", item=f"{base}/{folder}") from error
    for name, entry in found:
        if name.startswith(".") or not any(p is None or p.matches(folder + name) for p in wanted):
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError("has a name that is not UTF-8", item=repr(folder + name), remedy="rename it") from error
        if not name.endswith("/"):
            yield folder + name, entry
        elif entry.is_symlink():
            raise InputError("is a link to a folder", item=f"{base}/{folder}{name}", remedy="name the folder itself")
        else:
            yield from _walk(base, folder + name, wanted)


def open_as_found(path: str, file: File) -> io.FileIO:
    """Open a file for reading.

    Raises:
        IntegrityError: If it is not as it was found.
        InputError: If this user may not read it.
        StorageError: If the disk fails.
    """
    try:
        opened = io.FileIO(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise changed(path) from error
    except OSError as error:
        raise unreadable(error, path) from error
    status = os.fstat(opened.fileno())
    if stamp_of(status) != file.stamp or status.st_size != file.size:
        opened.close()
        raise changed(path)
    return opened


def stamp_of(status: os.stat_result) -> str:
    """Return the stamp of a file: its time of modification, in nanoseconds."""
    return str(status.st_mtime_ns)


def unreadable(error: OSError, path: str) -> DdpmError:
    """A failing disk is not the fault of the file, which must not end in quarantine."""
    cause = f"cannot be read ({error.strerror})"
    if isinstance(error, PermissionError):
        return InputError(cause, item=path, remedy="let this user read it")
    return StorageError(cause, item=path, remedy="run again")
