"""Files of this machine: found below a folder, and opened as they were found."""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from infra.errors import DdpmError, InputError, StorageError, Term
from infra.sources.files.file import File, changed
from infra.sources.files.pattern import Pattern

_RELINK = f"remove it, or set {Term.SOURCE} to the folders that are wanted"


def local_files(base: str, wanted: Sequence[Pattern | None], apart: Sequence[str] = ()) -> Iterator[File]:
    """Find the files below a folder that match a pattern and are not hidden, in the order of their names.

    Links to folders are followed; their own names count.

    Args:
        base: The folder.
        wanted: Patterns of the names; None matches all.
        apart: Paths that no link may lead to, such as those of the program's own outputs.

    Raises:
        InputError: If a folder cannot be listed, a file cannot be read or is no regular file, or a link leads to
            nothing, to a folder around itself or to one around a path of `apart`.
    """
    for name, entry in _walk(base, "", wanted, _Links(apart)):
        try:
            status = entry.stat()
        except OSError as error:
            path = f"{base}/{name}"
            if entry.is_symlink():
                raise InputError(f"is a link to nothing ({error.strerror})", item=path, remedy=_RELINK) from error
            raise InputError(f"cannot be read ({error.strerror})", item=path, remedy="let this user read it") from error
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a file", item=f"{base}/{name}", remedy="remove it")
        yield File(name=name, size=status.st_size, stamp=stamp_of(status))


@dataclass(frozen=True)
class _Links:
    """The links to folders that were followed to a place.

    Attributes:
        apart: Paths that no link may lead to.
        holders: The real paths of the folders that hold the links followed so far, outermost first.
    """

    apart: Sequence[str]
    holders: tuple[str, ...] = ()

    def followed(self, path: str) -> "_Links":
        """Return the links with one more.

        A walk that never ends passes some real folder twice. Between the two it is below that folder, and there it
        follows the next link, so one of the holders lies below the target of the last link.
        """
        target = os.path.realpath(path)
        holders = (*self.holders, os.path.realpath(os.path.dirname(path)))  # noqa: PTH120 - as fast as can be
        if any(_is_below(holder, target) for holder in holders):
            raise InputError(f"is a link to a folder around it ({target})", item=path, remedy=_RELINK)
        if any(_is_below(os.path.realpath(one), target) for one in self.apart):
            raise InputError(f"is a link to the program's own outputs ({target})", item=path, remedy=_RELINK)
        return _Links(self.apart, holders)


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _walk(
    base: str, folder: str, wanted: Sequence[Pattern | None], links: _Links
) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """The files below a folder in the order of their names' characters, as an object store lists them."""
    try:
        with os.scandir(f"{base}/{folder}") as entries:
            found = sorted(((entry.name + "/" * _is_folder(entry), entry) for entry in entries), key=itemgetter(0))
    except OSError as error:
        raise InputError(
            f"cannot be listed ({error.strerror})", item=f"{base}/{folder}", remedy="let this user list it"
        ) from error
    all_wanted = None in wanted
    for name, entry in found:
        if name.startswith(".") or not (all_wanted or any(p and p.matches(folder + name) for p in wanted)):
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError("has a name that is not UTF-8", item=repr(folder + name), remedy="rename it") from error
        if not name.endswith("/"):
            yield folder + name, entry
        else:
            within = links.followed(f"{base}/{folder}{entry.name}") if entry.is_symlink() else links
            yield from _walk(base, folder + name, wanted, within)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; `local_files` names it
        return False


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
