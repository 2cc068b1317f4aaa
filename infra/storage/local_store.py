"""A store in a folder: files are written aside and linked into place, so that one writer alone takes a name."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, ResourceError, StorageError, Term
from infra.storage.aside import NO_SPACE, spare, write_synced
from infra.storage.store import StoredObject, check_name

# If others keep removing the folder that a file is put into.
_ROUNDS = 100


@dataclass(frozen=True)
class LocalStore:
    """A folder on a local or shared disk that has hard links."""

    root: Path

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self.root)

    def make(self) -> None:
        """Make the folder if it does not exist yet."""
        with _translated(".", self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes, or a range of them; FileNotFoundError if it does not exist."""
        with _translated(name, self.root), self._path(name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write aside, sync, link to the final name (which fails if it is taken), sync the folder."""
        final = self._path(name)
        with _translated(name, self.root):
            if final.exists():
                return False
            with self._aside(data) as aside:
                try:
                    _place(final, lambda: os.link(aside, final))
                except FileExistsError:
                    return False
            _sync_folder(final.parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Write aside, sync, rename over the final name (which swaps the files at once), sync the folder."""
        final = self._path(name)
        with _translated(name, self.root):
            with self._aside(data) as aside:
                _place(final, lambda: aside.replace(final))
            _sync_folder(final.parent)

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return self._path(name).is_file()

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly in a folder, sorted, without looking into them."""
        folder = self._path(prefix)
        with _translated(prefix, self.root):
            inside = folder.iterdir() if folder.is_dir() else ()
            return sorted(path.relative_to(self.root).as_posix() for path in inside if path.is_dir())

    def newest_folders(self, prefix: str) -> list[str]:
        """Return the same, those first in which something was put or removed last."""
        changed: dict[str, int] = {}
        for name in self.folders(prefix):
            with _translated(name, self.root), contextlib.suppress(FileNotFoundError):  # removed since it was listed
                changed[name] = self._path(name).stat().st_mtime_ns
        return sorted(changed, key=lambda name: (-changed[name], name))

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted."""
        with _translated(prefix, self.root):
            # A file that is gone since it was listed stays: its successor, as of a renewed lease, may not be listed.
            found = (path for path in self._files(prefix, _pass_over) if path.is_file() or not os.path.lexists(path))
            return sorted(map(self._name, found))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the files below a folder, folder by folder."""
        with _translated(prefix, self.root):
            for path in self._files(prefix, _pass_over_missing):
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode):
                        yield StoredObject(self._name(path), found.st_size, found.st_mtime)

    def now_s(self) -> float:
        """Return the time by the disk's clock, which a server may keep; by this machine's if nothing can be written."""
        try:
            with spare(self.root / ".tmp") as aside:
                aside.touch()
                return aside.stat().st_mtime
        except OSError:
            return time.time()

    def delete(self, name: str) -> None:
        """Remove an object and the folders that it leaves empty, but none directly below the root.

        Nothing happens if the object does not exist.
        """
        path = self._path(name)
        with _translated(name, self.root):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the first one that is not empty ends it
            for folder in path.parents:
                if self.root in (folder, folder.parent):
                    break
                folder.rmdir()

    def _files(self, prefix: str, on_error: Callable[[OSError], None]) -> Iterator[Path]:
        for folder, inside, files in os.walk(self._path(prefix), onerror=on_error):
            inside.sort()
            yield from (Path(folder) / file for file in sorted(files))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def _aside(self, data: bytes) -> Iterator[Path]:
        """Yield a synced file with these bytes under a name of its own, and remove that name afterwards."""
        with spare(self.root / ".tmp") as aside:
            write_synced(aside, data)
            yield aside

    def _path(self, name: str) -> Path:
        check_name(name, str(self.root))
        return self.root / name


def _pass_over_missing(error: OSError) -> None:
    """Pass over a folder that is not there, or was removed since it was listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _pass_over(error: OSError) -> None:
    """Pass over such a folder, and over one that cannot be looked into, such as lost+found."""
    if not isinstance(error, PermissionError):
        _pass_over_missing(error)


def _place(final: Path, move: Callable[[], object]) -> None:
    """Make the folder of a file and move the file there; again if the folder, left empty by others, is removed."""
    for rounds_left in reversed(range(_ROUNDS)):
        try:
            _make_folder(final.parent)
            move()
        except FileNotFoundError:
            if not rounds_left:
                raise
        else:
            return


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file is in its place, which is not the same as a name that is taken
        if not os.path.lexists(folder) or folder.is_dir():  # or a parallel delete took the folder away meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder)) from error
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # the file is deleted already, and its folder with it
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _translated(name: str, root: Path) -> Iterator[None]:
    """Turn the system's errors into ours; a missing object stays FileNotFoundError, for the caller to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise ConfigError(
            f"not a folder: {error.filename}", item=f"root {root}", remedy=f"choose {Term.ANOTHER_ROOT}"
        ) from error
    except PermissionError as error:
        raise ConfigError(
            f"not allowed: {error.filename}", item=f"root {root}", remedy=f"choose {Term.ANOTHER_ROOT}"
        ) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceError(
                f"no space left for {name}", item=str(root), remedy="free some and run again"
            ) from error
        raise StorageError(f"{error.strerror or error}: {name}", item=str(root), remedy="run again") from error
