"""The split and the class of every image, from the names of the folders and files around it.

The rules, by number; tests/infra/sources/listing/test_placing.py has examples of each.

1. Folders around all images are ignored, up to the first that names a split. If all images lie in one and the same
   folder, that folder is not ignored: it may be a class.
2. A folder names a split if its whole name is a word for it: train, Training, train2017, test_images, val-set.
3. The split of an image is the first of these that exists: what the source itself says; what the outermost folder
   names; what the outermost folder around its archive (or other file of many images) names; a word of the name of that
   file. If a file holds just one image, its own name says nothing.
4. The class of an image is its label if the source gives labels to any image. Otherwise it is the path of its folders,
   without the outermost if that names the split.
5. The held-out split is test. It is val if there are no test images, or if train and val have classes and test has
   none: published test sets often lack their labels.
6. An image of val or test that is not held out is in no split.
7. Classes may lie in folders of their own in each split: imgs/cat in train, cat in test. If the classes are folders,
   and train and the held-out split have no class in common, the folders around all classes of each split are removed,
   provided that this gives the splits a class in common, and that either one split has no such folders or all of them
   have a word for a split in their names (set-train/cat, set-test/cat). Without the last condition Greek/alpha in train
   and Hebrew/alpha in test would become one class.
8. Folders that have words for train and for test or val in their names, but name no split (seg_train, seg_test), look
   like splits. `Survey.hidden_splits` and `names_both` find them, so that the listing can refuse them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from infra.sources.source import Entry

SPLITS = ("train", "test")
_VALIDATION = "val"
_FOLDER = re.compile(r"(train|test|val)(ing|id|idation)?[-_ ]?(set|data|images|imgs)?[-_ ]?[0-9]*")
_WORD = re.compile(r"(?<![a-z])(train|test|val)(ing|id|idation)?(set)?(?![a-z])")

# A split and a class, each empty if there is none: a cell of the table of all splits and classes.
Cell = tuple[str, str]


class NamedSplit(NamedTuple):
    """A split that a name gives.

    Attributes:
        split: `train`, `test` or `val`; empty if no name gives one.
        folder: The folder that names it; empty if the name of a file has the word.
    """

    split: str
    folder: str


@dataclass(frozen=True)
class Placing:
    """Gives an entry its split and class by rules 1 to 4; the split may be `val`.

    Attributes:
        around: How many folders are around all images.
        around_files: How many folders are around all files of many images.
        labelled: Whether the source gives labels to any image.
    """

    around: int
    around_files: int
    labelled: bool

    def __call__(self, entry: Entry) -> Cell:
        """Return the split and the class of an entry."""
        named, label = _from_names(self, entry.folder, entry.file if entry.at else "")
        return entry.split or named.split, entry.label if self.labelled else label

    def named_split(self, entry: Entry) -> "NamedSplit":
        """Return the split that names give an entry, and the folder that names it."""
        named, _ = _from_names(self, entry.folder, entry.file if entry.at else "")
        return named


@lru_cache(1024)
def _from_names(placing: Placing, folder: str, file: str) -> tuple[NamedSplit, str]:
    """The split and the class that names give to an image in a folder; `file` is empty unless it holds many images."""
    folders = _parts(folder)[placing.around :]
    *folders_around_file, name = file.split("/")
    named = _split_from_names(folders, folders_around_file[placing.around_files :], name)
    return named, _class_from_folders(folders)


def _split_from_names(folders: list[str], folders_around_file: list[str], file_name: str) -> NamedSplit:
    """Rule 3, after what the source itself says."""
    for around in (folders, folders_around_file):
        if split := _split_of_outermost(around):
            return NamedSplit(split, around[0])
    return NamedSplit(_word_for_split(file_name), "")


def _class_from_folders(folders: list[str]) -> str:
    """Rule 4, if the source gives no labels."""
    return "/".join(folders[1:] if _split_of_outermost(folders) else folders)


def _split_of_outermost(folders: list[str]) -> str:
    return _split_of_folder(folders[0]) if folders else ""


def _split_of_folder(name: str) -> str:
    """Rule 2: the split that a folder names, or nothing."""
    found = _FOLDER.fullmatch(name.lower())
    return found[1] if found else ""


def _word_for_split(name: str) -> str:
    """The first word for a split in a name: train, test, val, or nothing."""
    found = _WORD.search(name.lower())
    return found[1] if found else ""


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
        self._last, parts = path, _parts(path)
        for depth, part in enumerate(parts):
            if split := _word_for_split(part):
                self._words[depth].setdefault(split, part)
        self._around = parts if self._around is None else _common_folders(self._around, parts)
        self._deepest = max(self._deepest, len(parts))

    @property
    def common(self) -> int:
        """Rule 1: how many folders to ignore."""
        around = self._around or []
        to_split = next((depth for depth, part in enumerate(around) if _split_of_folder(part)), len(around))
        return min(to_split, max(self._deepest - 1, 0))

    def split_words(self) -> list[str]:
        """The names of outermost folders with words for two splits."""
        return _train_and_held_out(self._words[self.common])


def settled(counts: Mapping[Cell, int], *, from_folders: bool) -> dict[Cell, Cell]:
    """Apply rules 5 to 7, which need to know all cells.

    Args:
        counts: Images by the cell that the placing gave them.
        from_folders: Whether the classes are folders; labels of the source's own stay as they are.

    Returns:
        For each cell, the final one.
    """
    held_out = held_out_split(counts)
    train_classes, held_out_classes = _classes(counts, "train"), _classes(counts, held_out)
    wrappers = {}
    if from_folders and _wrappers_hide_classes(train_classes, held_out_classes):
        wrappers = {"train": len(_wrapper(train_classes)), held_out: len(_wrapper(held_out_classes))}
    return {
        (split, label): (_final_split(split, held_out), _unwrapped(label, wrappers.get(split, 0)))
        for split, label in counts
    }


def held_out_split(counts: Iterable[Cell]) -> str:
    """Rule 5: test or val."""
    cells = list(counts)
    splits = {split for split, _ in cells}
    if _VALIDATION not in splits:
        return "test"
    if "test" not in splits:
        return _VALIDATION
    only_test_lacks_classes = _classes(cells, "train") and _classes(cells, _VALIDATION) and not _classes(cells, "test")
    return _VALIDATION if only_test_lacks_classes else "test"


def _final_split(split: str, held_out: str) -> str:
    """Rule 6: `train`, `test` or nothing."""
    if split == held_out:
        return "test"
    return "train" if split == "train" else ""


def _wrappers_hide_classes(train: set[str], held_out: set[str]) -> bool:
    """Rule 7: whether the folders around the classes of each split have to go."""
    if train & held_out:
        return False
    one, other = _wrapper(train), _wrapper(held_out)
    in_common = {_unwrapped(label, len(one)) for label in train} & {_unwrapped(label, len(other)) for label in held_out}
    if not in_common:
        return False
    if not one or not other:
        return True
    return all(_word_for_split(folder) for folder in [*one, *other])


def _wrapper(labels: set[str]) -> list[str]:
    """The folders around all of these classes; the deepest class keeps a folder as its name."""
    paths = [_parts(label) for label in labels]
    if not paths:
        return []
    common = paths[0]
    for path in paths:
        common = _common_folders(common, path)
    deepest = max(len(path) for path in paths)
    return common[: deepest - 1]


def _unwrapped(label: str, folders: int) -> str:
    """A class without its outermost folders."""
    return "/".join(_parts(label)[folders:])


def _classes(cells: Iterable[Cell], split: str) -> set[str]:
    return {label for of, label in cells if of == split and label}


def names_both(parts: Iterable[str]) -> bool:
    """Rule 8: whether one folder names train, and another test or val."""
    named = {split: part for part in parts if (split := _split_of_folder(part))}
    return bool(_train_and_held_out(named))


def _train_and_held_out(named: Mapping[str, str]) -> list[str]:
    """The folder of train and the one of test, else val, out of folders by split; empty if one of them is missing."""
    held_out = named.get("test") or named.get(_VALIDATION)
    return [named["train"], held_out] if "train" in named and held_out else []


def _common_folders(one: list[str], other: list[str]) -> list[str]:
    """The beginning that two paths share."""
    common = []
    for folder, same in zip(one, other, strict=False):
        if folder != same:
            break
        common.append(folder)
    return common


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []
