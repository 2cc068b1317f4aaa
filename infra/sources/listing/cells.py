"""The table of all splits and classes: the held-out split, and classes in folders of their own (rules 5 to 7)."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from infra.sources.listing.folders import VALIDATION, common_folders, path_parts, word_for_split

# A cell of the table of all splits and classes: an image's split and class, either of which may be empty.
Cell = tuple[str, str]

# A whole number as Python writes it: 01 is a name like any other.
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")

# Paths are counted down to so many folders below the class: rule 7 may remove as many.
DEEPER = 3


def class_at(path: str, depth: int) -> str:
    """Return the class that a path of folders gives: the folder at a depth, from 1, or the whole path if it is 0."""
    if not depth:
        return path
    parts = path_parts(path)
    return parts[depth - 1] if len(parts) >= depth else ""


def settled(counts: Mapping[Cell, int], *, from_folders: bool, depth: int = 0) -> dict[Cell, Cell]:
    """Apply rules 5 to 7, which need to know all cells.

    Args:
        counts: Images by the cell that the placing gave them.
        from_folders: Whether the classes are paths of folders; other labels stay as they are.
        depth: Which of the folders is the class, from 1; 0 for the whole path.

    Returns:
        For each cell, the final one.
    """
    held_out = held_out_split(counts)
    if not from_folders:
        return {(split, label): (_final_split(split, held_out), label) for split, label in counts}
    train_paths, held_out_paths = _classes(counts, "train"), _classes(counts, held_out)
    wrappers = {}
    if _wrappers_hide_classes(train_paths, held_out_paths, depth):
        wrappers = {"train": len(_wrapper(train_paths)), held_out: len(_wrapper(held_out_paths))}
    return {
        (split, path): (_final_split(split, held_out), _class(path, wrappers.get(split, 0), depth))
        for split, path in counts
    }


def changed(given: Mapping[Cell, int], changes: Mapping[Cell, Cell]) -> tuple[Counter[Cell], Counter[str]]:
    """Return the number of images by cell and by split after the changes of `settled`."""
    counts, splits = Counter[Cell](), Counter[str]()
    for cell, count in given.items():
        counts[changes[cell]] += count
        splits[changes[cell][0]] += count
    return counts, splits


class Classes(NamedTuple):
    """The classes of a source.

    Attributes:
        found: The labels of all images, with an empty one if an image lacks the class that it must have.
        unlabelled: Images without a class, if others have one and that takes all classes away.
        bare: Held-out images without a class, if all training images have one.
    """

    found: set[str]
    unlabelled: int
    bare: int

    @property
    def names(self) -> list[str]:
        """The classes in order, whole numbers by value, other names by characters; none if there are fewer than two."""
        if len(self.found) < 2 or "" in self.found:
            return []
        if all(_NUMBER.fullmatch(label) for label in self.found):
            return sorted(self.found, key=int)
        return sorted(self.found)


def classes_in(counts: Mapping[Cell, int], splits: Collection[str], *, are_taken: bool) -> Classes:
    """Return the classes of images.

    Args:
        counts: Images by cell.
        splits: The splits that count.
        are_taken: Whether they are train and test. Held-out images may then lack a class: they are measured without.
    """
    found = {label for split, label in counts if split in splits}
    without = sum(counts.get((split, ""), 0) for split in splits)
    if are_taken and not counts.get(("train", "")):
        return Classes(found - {""}, 0, without)
    return Classes(found, without if found != {""} else 0, 0)


def held_out_split(counts: Iterable[Cell]) -> str:
    """Rule 5: test or val."""
    cells = list(counts)
    splits = {split for split, _ in cells}
    if VALIDATION not in splits:
        return "test"
    if "test" not in splits:
        return VALIDATION
    only_test_lacks_classes = _classes(cells, "train") and _classes(cells, VALIDATION) and not _classes(cells, "test")
    return VALIDATION if only_test_lacks_classes else "test"


def _final_split(split: str, held_out: str) -> str:
    """Rule 6: `train`, `test` or nothing."""
    if split == held_out:
        return "test"
    return "train" if split == "train" else ""


def _wrappers_hide_classes(train: set[str], held_out: set[str], depth: int) -> bool:
    """Rule 7: whether the folders around the classes of each split have to go."""
    if _in_common(train, 0, held_out, 0, depth):
        return False
    one, other = _wrapper(train), _wrapper(held_out)
    if not _in_common(train, len(one), held_out, len(other), depth):
        return False
    if not one or not other:
        return True
    return all(word_for_split(folder) for folder in [*one, *other])


def _in_common(train: set[str], around_train: int, held_out: set[str], around_held_out: int, depth: int) -> bool:
    """Whether a class is in both splits, without the outermost folders of each."""
    classes = {_class(path, around_train, depth) for path in train}
    return any(_class(path, around_held_out, depth) in classes - {""} for path in held_out)


def _wrapper(labels: set[str]) -> list[str]:
    """The folders around all of these classes; the deepest class keeps a folder as its name."""
    paths = [path_parts(label) for label in labels]
    if not paths:
        return []
    common = paths[0]
    for path in paths:
        common = common_folders(common, path)
    deepest = max(len(path) for path in paths)
    return common[: deepest - 1]


def _class(path: str, around: int, depth: int) -> str:
    """The class of a path without its outermost folders."""
    return class_at("/".join(path_parts(path)[around:]), depth)


def _classes(cells: Iterable[Cell], split: str) -> set[str]:
    return {label for of, label in cells if of == split and label}
