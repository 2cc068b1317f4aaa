"""A store tried out as a run uses it, with small objects below a folder of their own, and left as it was."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, IntegrityError, StorageError
from infra.storage.open import open_store
from infra.storage.s3_client import Limits
from infra.storage.store import Store
from infra.storage.uri import parse_place

_FOLDER, _ASIDE = ".trial", ".tmp"
# A trial is to end soon; a run waits longer.
BRIEF = Limits(total_s=6.0, connect_s=3.0, read_s=6.0)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A folder in a store for small objects.

    Attributes:
        store: The store.
        folder: The folder's name; nobody else has it.
    """

    store: Store
    folder: str

    def exercise(self) -> None:
        """Do once what a run does with its root: commit a name, refuse a second writer, read, list, replace, remove.

        Raises:
            ConfigError: If the store refuses, or lets a second writer overwrite the first.
            ResourceError: If it has no room.
            StorageError: If it does not answer, or does not find an object that it has just taken.
            IntegrityError: If it returns other bytes than it took.
        """
        name, first, second = f"{self.folder}/exercise", uuid.uuid4().hex.encode(), uuid.uuid4().hex.encode()
        item = f"{self.store.uri}/{name}"
        taken = self.store.put_if_absent(name, first)
        if self.store.put_if_absent(name, second) or not taken:
            raise ConfigError(
                "the store lets a second writer overwrite the first",
                item=item,
                remedy="use one with conditional writes",
            )
        try:
            found = self.store.read(name), self.store.read(name, 8, 8), name in self.store.list(self.folder)
            self.store.replace(name, second)
            later = self.store.read(name)
        except FileNotFoundError as error:
            raise StorageError("an object is missing right after it was written", item=item) from error
        if found[:2] != (first, first[8:16]) or later != second:
            raise IntegrityError("other bytes come back than were written", item=item, remedy="do not use this store")
        if not found[2]:
            raise StorageError("a listing lacks an object that was just written", item=item)
        self.store.delete(name)
        if self.store.exists(name):
            raise StorageError("an object is still there after it was removed", item=item)


@contextlib.contextmanager
def trial(uri: str, limits: Limits = BRIEF) -> Iterator[Trial]:
    """Provide a folder for a trial; afterwards remove it with all its objects.

    A local root that does not exist is made for the time of the trial.

    Args:
        uri: The root, a local path or s3://bucket/prefix.
        limits: The bounds of every wait for S3.

    Raises:
        ConfigError: If the URI is neither, or its folder cannot be made.
    """
    place, folder = parse_place(uri), f"{_FOLDER}/{uuid.uuid4().hex}"
    if place.scheme == "s3":
        # Imported here for the same reason as in `open_store`.
        from infra.storage.s3_store import S3Store

        store: Store = S3Store(place.bucket, place.path, limits)
        try:
            yield Trial(store=store, folder=folder)
        finally:
            _remove_objects(store, folder)
        return
    root = Path(place.path)
    made = [path for path in (root, *root.parents) if not path.exists()]
    if not (root / _ASIDE).exists():
        made.insert(0, root / _ASIDE)
    store = open_store(uri)
    try:
        store.make()
        yield Trial(store=store, folder=folder)
    finally:
        _remove_objects(store, folder)
        for path in (root / folder, root / _FOLDER, *made):
            with contextlib.suppress(OSError):  # somebody uses it by now, or it was never made
                path.rmdir()


def _remove_objects(store: Store, folder: str) -> None:
    """Remove what a trial left; a store that refuses even that was the trial's finding."""
    with contextlib.suppress(Exception):
        for name in store.list(folder):
            store.delete(name)


def nearest_folder(root: str) -> Path:
    """Return the folder at a local path, or the nearest one around it if it does not exist yet."""
    path = Path(parse_place(root).path)
    return next(folder for folder in (path, *path.parents) if folder.exists())
