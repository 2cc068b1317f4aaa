"""A file as it was found, and the error if it is no longer that file."""

from dataclasses import dataclass

from infra.errors import IntegrityError

# A larger file is not a training image.
MAX_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as it was found.

    Attributes:
        name: Its path below the source, '/'-separated.
        size: Its bytes.
        stamp: Time of modification or ETag; changes if the file changes.
    """

    name: str
    size: int
    stamp: str


def changed(path: str) -> IntegrityError:
    """Return the error of a file that is no longer as it was found."""
    return IntegrityError("changed since it was listed", item=path, remedy="run again")
