"""Folders whose names give a split only together with the folders beside them (rule 9 of the placing).

    trainA trainB testA testB            the split, and a class: train/A train/B test/A test/B
    seg_train seg_test                   the split, and a word that says nothing: train test
    cats/train cats/test dogs/train ...  the split below the class: train/cats test/cats train/dogs ...

A name alone proves nothing: train_station and test_tube are classes. So the rest of the name, or the folders around it,
must occur in train and in a held-out split.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from infra.sources.listing.folders import VALIDATION, common_folders, path_parts, split_of_folder

# Deeper folders are not looked at, and neither are more names than these.
_MOST_LEVELS = 8
_MOST_NAMES = 100_000
# A word for a split, with no letter beside it, or at a change of case: trainA, mnistTrain, cats_test.
_WORD = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:(train|test|val)(?:ing|id|idation)?(?:set)?)"
    r"(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
)
_SEPARATORS = "-_. "


class _Named(NamedTuple):
    """A folder's name that has a word for a split in it: the split, and the rest."""

    split: str
    rest: str


@dataclass(frozen=True)
class SplitNames:
    """The folders that give a split by rule 9.

    Attributes:
        depth: Their depth, from 0.
        around: How many folders are around all images.
        classes: Whether the rest of their names is a class.
        by_word: Whether a word in the name gives the split, instead of the whole name.
        folders: The first folder of each split.
    """

    depth: int
    around: int
    classes: bool
    by_word: bool
    folders: tuple[tuple[str, str], ...]

    def folder(self, path: str) -> str:
        """Return the path with a folder of the split's own name outermost, and the class below it."""
        return _moved(self, path)

    def words(self, held_out: str) -> str:
        """Return the folders that give train and a held-out split, in words for the user; empty if they do not."""
        folders = dict(self.folders)
        return f"folders {folders['train']} and {folders[held_out]}" if held_out in folders else ""


class SplitNamesSurvey:
    """Looks at all folders of a source; memory does not grow with the number of images."""

    def __init__(self) -> None:
        self._by_word: dict[int, dict[_Named, str]] = defaultdict(dict)
        self._by_name: dict[int, dict[_Named, str]] = defaultdict(dict)
        self._around: list[str] | None = None
        self._deepest = 0
        self._last: str | None = None

    def add(self, path: str, split: str = "") -> None:
        """Look at the folders around an image, unless the source itself gives its split."""
        if split or path == self._last:
            return
        self._last, parts = path, path_parts(path)
        for depth, part in enumerate(parts[:_MOST_LEVELS]):
            if split := split_of_folder(part):
                _keep(self._by_name[depth], _Named(split, "/".join(parts[:depth])), part)
            elif named := _named(part):
                _keep(self._by_word[depth], named, part)
        self._around = parts if self._around is None else common_folders(self._around, parts)
        self._deepest = max(self._deepest, len(parts))

    def found(self) -> SplitNames | None:
        """Return the folders that give a split by rule 9; None if there are none, or rule 2 suffices."""
        around = min(len(self._around or []), max(self._deepest - 1, 0))
        if any(self._by_name[depth] for depth in range(around + 1)):
            return None
        candidates = [(around, self._by_word[around], True)]
        candidates += [(depth, self._by_name[depth], False) for depth in range(around + 1, _MOST_LEVELS)]
        for depth, names, by_word in candidates:
            if any(_named_in_both(names)):
                rests = {named.rest for named in names}
                return SplitNames(depth, around, len(rests) > 1, by_word, tuple(_first_folders(names, depth)))
        return None


def _keep(names: dict[_Named, str], named: _Named, part: str) -> None:
    if len(names) < _MOST_NAMES:
        names.setdefault(named, part)


def _named_in_both(names: dict[_Named, str]) -> Iterator[str]:
    """Yield the rests that occur in train and in a held-out split."""
    for split, rest in names:
        if split == "train" and (_Named("test", rest) in names or _Named(VALIDATION, rest) in names):
            yield rest


def _first_folders(names: dict[_Named, str], depth: int) -> Iterator[tuple[str, str]]:
    """Yield a folder of each split, of the same rest if there is one."""
    rest = next(_named_in_both(names))
    for split in ("train", "test", VALIDATION):
        of_split = [named for named in names if named.split == split]
        if of_split:
            named = next((one for one in of_split if one.rest == rest), of_split[0])
            yield split, names[named]


@lru_cache(4096)
def _named(name: str) -> _Named | None:
    found = _WORD.search(name)
    if found is None:
        return None
    before, after = name[: found.start()].strip(_SEPARATORS), name[found.end() :].strip(_SEPARATORS)
    return _Named(found[1].lower(), "_".join(filter(None, (before, after))))


@lru_cache(4096)
def _moved(names: SplitNames, path: str) -> str:
    parts = path_parts(path)
    if len(parts) <= names.depth:
        return path
    outer, part, below = parts[: names.depth], parts[names.depth], parts[names.depth + 1 :]
    named = _named(part) if names.by_word else _Named(split_of_folder(part), "")
    if named is None or not named.split:
        return path
    rest = [named.rest] if names.by_word and names.classes and named.rest else []
    around, classes = outer[: names.around], outer[names.around :]
    return "/".join([*around, named.split, *classes, *rest, *below])
