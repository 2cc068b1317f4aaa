"""The images that are left out because of their key, by key and by the split that their names alone give."""

import re

from infra.sources.listing.folders import split_of_folder, word_for_split
from infra.sources.source import Other
from infra.sources.tally import Tally

_FOLDER, _ARCHIVE = "/", "!"


class LeftOut:
    """Counts images that are left out; a few counts are in memory.

    Attributes:
        keys: Their number by key.
    """

    def __init__(self) -> None:
        self.keys = Tally()
        self._by_split: dict[str, Tally] = {}

    def add(self, images: Other) -> None:
        """Count images of a key."""
        self.keys.add(images.key, images.count)
        if not images.split and (split := _split_in(images.name)):
            self._by_split.setdefault(split, Tally()).add(images.key, images.count)

    def of_splits(self, *splits: str) -> Tally | None:
        """Return the number by key of those whose names give the first of these splits that any name gives."""
        return next((self._by_split[split] for split in splits if split in self._by_split), None)


def _split_in(name: str) -> str:
    """The split that the outermost folder or archive in a name gives, if one of them does."""
    for part in re.findall(rf"[^{_FOLDER}{_ARCHIVE}]+[{_FOLDER}{_ARCHIVE}]", name):
        if split := split_of_folder(part[:-1]) if part[-1] == _FOLDER else word_for_split(part):
            return split
    return ""
