"""The facts about all entries of a source that placing any of them needs (rules 1 and 8 of the placing)."""

from collections import defaultdict

from infra.sources.listing.folders import (
    common_folders,
    path_parts,
    split_of_folder,
    train_and_held_out,
    word_for_split,
)
from infra.sources.listing.placing import Placing
from infra.sources.source import Entry


class Survey:
    """The facts about all entries that placing any of them needs, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._folders, self._files = _Paths(), _Paths()
        self._labelled = False
        self._file = ""

    def add(self, entry: Entry) -> None:
        """Look at one entry."""
        self._labelled = self._labelled or bool(entry.label)
        self._folders.add(entry.folder)
        if entry.at and entry.file != self._file:
            self._file = entry.file
            self._files.add(entry.file.rpartition("/")[0])

    def placing(self) -> Placing:
        """Return the placing of all entries seen."""
        return Placing(self._folders.common, self._files.common, self._labelled)

    def hidden_splits(self) -> list[str]:
        """Rule 8: outermost folders whose names have words for train, and for test or val, but name no split."""
        return self._folders.split_words() or self._files.split_words()


class _Paths:
    """Some folders: how many are around all of them, and by depth the first names that have a word for a split."""

    def __init__(self) -> None:
        self._words: dict[int, dict[str, str]] = defaultdict(dict)
        self._around: list[str] | None = None
        self._deepest = 0
        self._last: str | None = None

    def add(self, path: str) -> None:
        if path == self._last:
            return
        self._last, parts = path, path_parts(path)
        for depth, part in enumerate(parts):
            if split := word_for_split(part):
                self._words[depth].setdefault(split, part)
        self._around = parts if self._around is None else common_folders(self._around, parts)
        self._deepest = max(self._deepest, len(parts))

    @property
    def common(self) -> int:
        """Rule 1: how many folders to ignore."""
        around = self._around or []
        to_split = next((depth for depth, part in enumerate(around) if split_of_folder(part)), len(around))
        return min(to_split, max(self._deepest - 1, 0))

    def split_words(self) -> list[str]:
        """The names of outermost folders with words for two splits."""
        return train_and_held_out(self._words[self.common])
