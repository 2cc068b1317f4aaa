"""The facts about all entries of a source that placing any of them needs (rules 1, 4 and 8 of the placing)."""

from collections import defaultdict
from functools import lru_cache

from infra.sources.listing.file_names import FileNames, last_number
from infra.sources.listing.folders import (
    common_folders,
    path_parts,
    split_of_folder,
    train_and_held_out,
    word_for_split,
)
from infra.sources.listing.numbering import Contents, first_to_last, is_numbered, parts_of
from infra.sources.source import Entry

_MOST_NAMES = 100_000
_MOST_LEVELS = 8


class Survey:
    """The facts about all entries that placing any of them needs, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._paths, self._files = _Paths(), _Paths()
        self._folders, self._in_splits = _Levels(), _Levels()
        self._names, self._names_in_train = FileNames(), FileNames()
        self._is_in_train = False
        self._labels: set[str] | None = set()
        self._file = ""
        self._run: tuple[str, str] | None = None
        self._length = 0
        self._last = ""

    def add(self, entry: Entry) -> None:
        """Look at one entry."""
        if entry.label and self._labels is not None and entry.label not in self._labels:
            self._labels.add(entry.label)
            if len(self._labels) > 2:
                self._labels = None
        if self._run is None or entry.folder != self._run[0]:
            self._end_run()
            self._run, self._length = (entry.folder, entry.name), 0
            self._paths.add(entry.folder)
            parts, below = _parts_and_split(entry.folder)
            self._is_in_train = below > 0 and split_of_folder(parts[below - 1]) == "train"
        self._names.add(entry.name)
        if self._is_in_train:
            self._names_in_train.add(entry.name)
        self._length += 1
        self._last = entry.name
        if entry.at and entry.file != self._file:
            self._file = entry.file
            self._files.add(entry.file.rpartition("/")[0])

    def finish(self) -> None:
        """Take the last entries into account; call it once, after all of them."""
        self._end_run()

    def _end_run(self) -> None:
        """Count the images that lay one after the other in one folder."""
        if self._run is None:
            return
        folder, first = self._run
        numbers = [number for name in (first, self._last) if (number := last_number(name)) is not None]
        lowest, highest = (min(numbers), max(numbers)) if len(numbers) == 2 else (None, None)
        parts, below = _parts_and_split(folder)
        contents = Contents(self._length, lowest, highest)
        self._folders.add(parts, contents)
        if below:
            self._in_splits.add(parts[below:], contents)

    @property
    def around(self) -> int:
        """Rule 1: how many folders are around all images."""
        return self._paths.common

    @property
    def around_in_splits(self) -> int:
        """Rule 1: how many folders are around all images below the folders of their splits."""
        return self._in_splits.around if self._paths.splits_at(self.around) else 0

    @property
    def around_files(self) -> int:
        """Rule 1: how many folders are around all files of many images."""
        return self._files.common

    @property
    def labelled(self) -> bool:
        """Whether the source gives labels to any image."""
        return self._labels is None or bool(self._labels)

    @property
    def signs(self) -> bool:
        """Whether all labels of the source are -1 or 1, as those of attributes are."""
        return self._labels == {"-1", "1"}

    @property
    def file_names_are_classes(self) -> bool:
        """Whether the names of all files have the form of cat_0001.png."""
        return self._names.are_classes

    @property
    def names_in_train_are_classes(self) -> bool:
        """Whether the names of all files in folders called train have that form."""
        return self._paths.splits_at(self.around) and self._names_in_train.are_classes

    @property
    def words_in_train(self) -> frozenset[str]:
        """The words before the numbers in these names."""
        return self._names_in_train.words

    def class_folders(self, depth: int) -> "ClassFolders":
        """Rule 4: look at the folders that may be classes.

        Args:
            depth: Which folder below the split is the class; 0 for the whole path, of which the first counts here.
        """
        if self._paths.splits_at(self.around):
            return self._in_splits.class_folders(self.around_in_splits, depth)
        return self._folders.class_folders(self.around, depth)

    def hidden_splits(self) -> list[str]:
        """Rule 8: outermost folders whose names have words for train, and for test or val, but name no split."""
        return self._paths.split_words() or self._files.split_words()


class ClassFolders:
    """The folders that may be classes.

    Attributes:
        several: Whether there are two or more names.
        any: Whether there is one.
        deeper: Whether there are folders in them.
        like: What they look like, such as "shards"; empty if they may be classes.
        names: The first and the last name if they look like something else.
        first: The first name; empty if there is none.
    """

    def __init__(self, level: "_Level", around: str, *, deeper: bool) -> None:
        self.any, self.several, self.deeper = level.first is not None, level.several, deeper
        numbered = level.numbered or {}
        self.like = parts_of(numbered, around) if len(numbered) > 1 else ""
        self.names = first_to_last(list(numbered)) if self.like else ""
        self.first = level.first or ""


class _Level:
    """The names of the folders at one depth; all of them are kept only as long as they may be numbers or dates."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.several = False
        self.numbered: dict[str, Contents] | None = {}

    def add(self, name: str, contents: Contents) -> None:
        self.first = name if self.first is None else self.first
        self.several = self.several or name != self.first
        if self.numbered is None:
            return
        if name in self.numbered:
            self.numbered[name].add(contents)
        elif is_numbered(name) and len(self.numbered) < _MOST_NAMES:
            self.numbered[name] = Contents(contents.images, contents.lowest, contents.highest)
        else:
            self.numbered = None


class _Levels:
    """The names of folders by depth, and how many are around all images."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = defaultdict(_Level)
        self._common: list[str] | None = None
        self._deepest = 0

    def add(self, parts: tuple[str, ...], contents: Contents) -> None:
        for depth, part in enumerate(parts[:_MOST_LEVELS]):
            self._levels[depth].add(part, contents)
        self._common = list(parts) if self._common is None else common_folders(self._common, list(parts))
        self._deepest = max(self._deepest, len(parts))

    @property
    def around(self) -> int:
        return min(len(self._common or []), max(self._deepest - 1, 0))

    def class_folders(self, around: int, depth: int) -> ClassFolders:
        place = around + max(depth, 1) - 1
        outer = self._common[around - 1] if around and self._common else ""
        return ClassFolders(self._levels[place], outer if place == around else "", deeper=self._deepest > place + 1)


class _Paths:
    """Some folders: how many are around all of them, and by depth the first names that have a word for a split."""

    def __init__(self) -> None:
        self._words: dict[int, dict[str, str]] = defaultdict(dict)
        self._splits: set[int] = set()
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
            if split_of_folder(part):
                self._splits.add(depth)
        self._around = parts if self._around is None else common_folders(self._around, parts)
        self._deepest = max(self._deepest, len(parts))

    @property
    def common(self) -> int:
        """Rule 1: how many folders to ignore."""
        around = self._around or []
        to_split = next((depth for depth, part in enumerate(around) if split_of_folder(part)), len(around))
        return min(to_split, max(self._deepest - 1, 0))

    def splits_at(self, depth: int) -> bool:
        """Whether a folder at a depth names a split."""
        return depth in self._splits

    def split_words(self) -> list[str]:
        """The names of outermost folders with words for two splits."""
        return train_and_held_out(self._words[self.common])


@lru_cache(1024)
def _parts_and_split(path: str) -> tuple[tuple[str, ...], int]:
    """The folders of a path, and how many of them lead to the one that names a split, with it; 0 if none does."""
    parts = tuple(path_parts(path))
    return parts, next((depth for depth, part in enumerate(parts, start=1) if split_of_folder(part)), 0)
