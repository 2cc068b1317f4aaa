"""The names of folders and files: their parts, and the words for a split in them (rules 2 and 8 of the placing)."""

import re
from collections.abc import Iterable, Mapping

VALIDATION = "val"
_FOLDER = re.compile(r"(train|test|val)(ing|id|idation)?[-_ ]?(set|data|images|imgs)?[-_ ]?[0-9]*")
# An x or y may be stuck to the word, as in xtrain.npy.
_WORD = re.compile(r"(?<![a-z])[xy]?(train|test|val)(ing|id|idation)?(set)?[xy]?(?![a-z])")


def split_of_folder(name: str) -> str:
    """Rule 2: the split that a folder names, or nothing."""
    found = _FOLDER.fullmatch(name.lower())
    return found[1] if found else ""


def word_for_split(name: str) -> str:
    """The first word for a split in a name: train, test, val, or nothing."""
    found = _WORD.search(name.lower())
    return found[1] if found else ""


def names_both(parts: Iterable[str]) -> bool:
    """Rule 8: whether one folder names train, and another test or val."""
    named = {split: part for part in parts if (split := split_of_folder(part))}
    return bool(train_and_held_out(named))


def train_and_held_out(named: Mapping[str, str]) -> list[str]:
    """The folder of train and the one of test, else val, out of folders by split; empty if one of them is missing."""
    held_out = named.get("test") or named.get(VALIDATION)
    return [named["train"], held_out] if "train" in named and held_out else []


def common_folders(one: list[str], other: list[str]) -> list[str]:
    """The beginning that two paths share."""
    common = []
    for folder, same in zip(one, other, strict=False):
        if folder != same:
            break
        common.append(folder)
    return common


def path_parts(path: str) -> list[str]:
    """Return the folders of a path, outermost first."""
    return path.split("/") if path else []
