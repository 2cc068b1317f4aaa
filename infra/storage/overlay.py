"""A store on top of another one: it reads from that one and keeps what is written in memory, so nothing is touched."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.storage.store import Store, StoredObject


@dataclass(frozen=True)
class Overlay:
    """A store whose changes are lost with it.

    Attributes:
        below: The store that it reads from.
    """

    below: Store
    _put: dict[str, bytes] = field(default_factory=dict)
    _deleted: set[str] = field(default_factory=set)

    @property
    def uri(self) -> str:
        """The address of the store below."""
        return self.below.uri

    def make(self) -> None:
        """Do nothing: a store that does not exist reads like an empty one."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes, or a range of them; FileNotFoundError if it does not exist."""
        if name in self._put:
            return self._put[name][start : None if length is None else start + length]
        if name in self._deleted:
            raise FileNotFoundError(name)
        return self.below.read(name, start, length)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Keep the object in memory; return False if the name is taken."""
        if self.exists(name):
            return False
        self._put[name] = data
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Keep the object in memory, in front of one of that name."""
        self._put[name] = data

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return name in self._put or (name not in self._deleted and self.below.exists(name))

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        start = f"{prefix}/"
        inside = [name.removeprefix(start).split("/") for name in self._put if name.startswith(start)]
        return sorted({*self.below.folders(prefix), *(f"{start}{parts[0]}" for parts in inside if len(parts) > 1)})

    def newest_folders(self, prefix: str) -> list[str]:
        """Return the same, those in memory first and then those below, the newest first if that store tells."""
        below = self.below.newest_folders(prefix)
        return [*(name for name in self.folders(prefix) if name not in set(below)), *below]

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted."""
        put = {name for name in self._put if prefix == "." or name.startswith(f"{prefix}/")}
        return sorted(put | (set(self.below.list(prefix)) - self._deleted))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a folder; those in memory are newer than any."""
        names = set(self.list(prefix))
        for one in self.below.objects(prefix):
            if one.name in names - self._put.keys():
                yield one
        for name in sorted(names & self._put.keys()):
            yield StoredObject(name, len(self._put[name]), math.inf)

    def now_s(self) -> float:
        """Return the time by the clock of the store below."""
        return self.below.now_s()

    def delete(self, name: str) -> None:
        """Hide an object; nothing happens if it does not exist."""
        self._put.pop(name, None)
        self._deleted.add(name)
