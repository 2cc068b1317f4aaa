"""A set of files of which the first are known already."""

from collections.abc import Iterator
from dataclasses import fields
from itertools import chain, islice
from typing import Any

from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet


class BegunFileSet(FileSet):
    """A set of files whose listing may begin before it is needed.

    Listing ten million files twice would take minutes. Workers receive a plain `FileSet`.
    """

    _begun: tuple[list[File], Iterator[File]] | None = None

    @classmethod
    def of(cls, files: FileSet) -> "BegunFileSet":
        """Return the same set as one whose listing may begin early."""
        return cls(*_values(files))

    def peek(self, count: int) -> list[File]:
        """Return the first `count` files, or all if there are fewer; the next `find` starts with them.

        Raises:
            InputError: If a source is not there, or a folder cannot be listed.
        """
        remaining = super().find()
        first = list(islice(remaining, count))
        # The set is frozen, and this is no part of its value.
        object.__setattr__(self, "_begun", (first, remaining))
        return first

    def find(self) -> Iterator[File]:
        """Find every file, as `FileSet` does."""
        begun = self._begun
        object.__setattr__(self, "_begun", None)
        return super().find() if begun is None else chain(*begun)

    def __reduce__(self) -> tuple[type[FileSet], tuple[Any, ...]]:
        """Pickle as a plain set, since a begun listing cannot leave its process."""
        return FileSet, _values(self)


def _values(files: FileSet) -> tuple[Any, ...]:
    return tuple(getattr(files, field.name) for field in fields(FileSet))
