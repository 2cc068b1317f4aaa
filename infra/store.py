"""Bytes by name, put only if the name is free: the one operation that commits rest on.

Names are relative, '/'-separated paths. `put_if_absent` either makes the whole object visible or leaves things as they
were, and of several writers of one name exactly one wins. `replace` is for the few objects that change, such as report
pages: a reader sees the old bytes or the new ones, never none. Local disks are served here, S3 by `infra.s3_store`.
"""

import contextlib
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.errors import ConfigError, ResourceError, StorageError
from infra.uri import parse_place

_NAME = re.compile(r"[A-Za-z0-9._=,+-]+(/[A-Za-z0-9._=,+-]+)*")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store(Protocol):
    """The operations that every back end has."""

    @property
    def uri(self) -> str:
        """Its address; `open_store` takes it."""

    def make(self) -> None:
        """Make the place itself if it does not exist yet."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes, or a stretch of them: fewer if the object ends before.

        Raises:
            FileNotFoundError: If there is no object of that name.
        """

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make the object visible, whole and durable; return False if the name is taken."""

    def replace(self, name: str, data: bytes) -> None:
        """Make these bytes the object's, whole and durable; readers find the old bytes until they find the new ones.

        If several writers replace one object, the last one wins.
        """

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted."""

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens if it does not exist."""


def sha256(data: bytes) -> str:
    """Hexadecimal digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def open_store(uri: str) -> Store:
    """Open the store at a local path or an s3://bucket/prefix.

    Raises:
        ConfigError: If the URI is neither.
    """
    place = parse_place(uri)
    if place.scheme == "s3":
        # Imported here, because its client takes a part of a second to load and local runs do not need it.
        from infra.s3_store import S3Store

        return S3Store(place.bucket, place.path)
    return LocalStore(Path(place.path))


def check_name(name: str, root: str) -> None:
    """Refuse a name that is not relative or that some back end cannot hold.

    Raises:
        ConfigError: If the name is refused.
    """
    if not _NAME.fullmatch(name) or ".." in name.split("/"):
        raise ConfigError(f"not a valid object name: {name!r}", item=root)


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
        """Return an object's bytes, or a stretch of them; FileNotFoundError if it does not exist."""
        with _translated(name, self.root), self._path(name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write aside, sync, link to the final name (which fails if it is taken), sync the folder."""
        final = self._path(name)
        with _translated(name, self.root):
            if final.exists():
                return False
            with self._aside(data, final) as aside:
                try:
                    os.link(aside, final)
                except FileExistsError:
                    return False
            _sync_folder(final.parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Write aside, sync, rename over the final name (which swaps the files at once), sync the folder."""
        final = self._path(name)
        with _translated(name, self.root):
            with self._aside(data, final) as aside:
                aside.replace(final)
            _sync_folder(final.parent)

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return self._path(name).is_file()

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted."""
        folder = self._path(prefix)
        with _translated(prefix, self.root):
            return sorted(path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file())

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens if it does not exist."""
        with _translated(name, self.root):
            self._path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _aside(self, data: bytes, final: Path) -> Iterator[Path]:
        """Yield a synced file with these bytes under a name of its own, and remove that name afterwards."""
        aside = self.root / ".tmp" / uuid.uuid4().hex
        for folder in (aside.parent, final.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        check_name(name, str(self.root))
        return self.root / name


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
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
            f"not a folder: {error.filename}", item=f"root {root}", remedy="choose another --root"
        ) from error
    except PermissionError as error:
        raise ConfigError(
            f"not allowed: {error.filename}", item=f"root {root}", remedy="choose another --root"
        ) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise ResourceError(
                f"no space left for {name}", item=str(root), remedy="free some and run again"
            ) from error
        raise StorageError(f"{error.strerror or error}: {name}", item=str(root), remedy="run again") from error
