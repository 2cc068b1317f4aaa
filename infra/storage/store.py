"""Bytes by name, put only if the name is free: the one operation that commits rest on.

Names are relative, '/'-separated paths. `put_if_absent` either makes the whole object visible or changes nothing; if
several writers put one name, exactly one wins. `replace` is for the few objects that change, such as report pages: a
reader always sees the old bytes or the new ones. `infra.storage.local_store` serves local disks,
`infra.storage.s3_store` serves S3.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from infra.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9._=,+-]+(/[A-Za-z0-9._=,+-]+)*")


class StoredObject(NamedTuple):
    """An object as the store describes it.

    Attributes:
        name: Its name.
        bytes: Its length.
        changed_s: When it was put or replaced, in seconds since 1970 by the store's clock.
    """

    name: str
    bytes: int
    changed_s: float


class Store(Protocol):
    """The operations that every back end has."""

    @property
    def uri(self) -> str:
        """Its address, from which `open_store` opens it again."""

    def make(self) -> None:
        """Make the store itself if it does not exist yet."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes, or a range of them, cut off at the object's end.

        Raises:
            FileNotFoundError: If there is no object of that name.
        """

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make the whole object visible and durable; return False if the name is taken."""

    def replace(self, name: str, data: bytes) -> None:
        """Replace the object's bytes as a whole and durably; readers see the old bytes or the new ones.

        If several writers replace one object, the last one wins.
        """

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly in a folder, sorted, without looking into them."""

    def newest_folders(self, prefix: str) -> list[str]:
        """Return the same, those first in which something was put or removed last, if the store tells without a search.

        S3 does not tell it of folders; there they are sorted by name.
        """

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a folder as they are found, folder by folder or page by page.

        Objects that are put or removed meanwhile may be among them or not.
        """

    def now_s(self) -> float:
        """Return the time by the clock that `changed_s` of an object comes from, in seconds since 1970."""

    def delete(self, name: str) -> None:
        """Remove an object and the folders that it leaves empty; nothing happens if it does not exist."""


def check_name(name: str, root: str) -> None:
    """Refuse a name that is not relative or that some back end cannot hold.

    Raises:
        ConfigError: If the name is refused.
    """
    if not _NAME.fullmatch(name) or ".." in name.split("/"):
        raise ConfigError(f"not a valid object name: {name!r}", item=root)
