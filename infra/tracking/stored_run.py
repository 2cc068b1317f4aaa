"""A run as a tracking server has it."""

from collections.abc import Mapping
from typing import NamedTuple


class StoredRun(NamedTuple):
    """A run as the server has it.

    Attributes:
        tags: Its tags.
        is_finished: Whether it ended well.
        is_deleted: Whether somebody deleted it.
    """

    tags: Mapping[str, str]
    is_finished: bool
    is_deleted: bool

    def is_whole(self, tag: str, digest: str) -> bool:
        """Tell whether it ended well, is there, and has a digest in a tag."""
        return self.is_finished and not self.is_deleted and self.tags.get(tag) == digest
