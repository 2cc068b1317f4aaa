"""Splits and classes, where names of folders and files give them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from infra.sources.source import Entry

SPLITS = ("train", "test")
_VALIDATION = "val"
# train, Training, train2017, test_images, validation, val-set; in a file's name the word may be anywhere.
_FOLDER = re.compile(r"(train|test|val)(ing|id|idation)?[-_ ]?(set|data|images|imgs)?[-_ ]?[0-9]*")
_WORD = re.compile(r"(?<![a-z])(train|test|val)(ing|id|idation)?(set)?(?![a-z])")

# A split, or the name of one, and a class; each is empty where there is none.
Place = tuple[str, str]


@dataclass(frozen=True)
class Placing:
    """Says which split and class an entry's source, folders and file give it.

    A split is what the source says itself, else what the outermost folder is called, else, of a file of many images,
    what its own outermost folder is called or its name says. It may be `val`. The other folders are the class, unless
    the source gives labels. Folders around everything count for nothing.

    Attributes:
        around: How many folders are around all images.
        around_files: The same of the files of many images.
        labelled: Whether the source gives any labels.
    """

    around: int
    around_files: int
    labelled: bool

    def __call__(self, entry: Entry) -> Place:
        """Return what an entry is given."""
        split, label = _from_names(self, entry.split, entry.folder, entry.file if entry.at else "")
        return split, entry.label if self.labelled else label


@lru_cache(1024)
def _from_names(placing: Placing, split: str, folder: str, file: str) -> Place:
    """The split and the class of what lies in a folder, and in a file of many images, if it is named."""
    folders, (*around_file, name) = _parts(folder)[placing.around :], file.split("/")
    kind = _kind_of_folder(folders[0]) if folders else ""
    outermost = around_file[placing.around_files : placing.around_files + 1]
    split = split or kind or (_kind_of_folder(outermost[0]) if outermost else "") or _kind_in(name)
    return split, "/".join(folders[1:] if kind else folders)


class Survey:
    """What has to be known of all entries before any can be placed, in memory that does not grow with them."""

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
        """Return what places all entries that were looked at."""
        return Placing(self._folders.common, self._files.common, self._labelled)

    def hidden_splits(self) -> list[str]:
        """Names of outermost folders that have train in them, and test or val, but are no names of splits."""
        found = [_one_of_each(paths.words[paths.common]) for paths in (self._folders, self._files)]
        return found[0] or found[1]


class _Paths:
    """Some folders: how many are around all of them, and which have the name of a split in theirs, how far inside."""

    def __init__(self) -> None:
        self.words: dict[int, dict[str, str]] = defaultdict(dict)
        self._around: list[str] | None = None
        self._deepest = 0
        self._last: str | None = None

    def add(self, path: str) -> None:
        if path == self._last:
            return
        self._last, parts = path, _parts(path)
        for depth, part in enumerate(parts):
            if kind := _kind_in(part):
                self.words[depth].setdefault(kind, part)
        self._around = parts if self._around is None else _common_folders(self._around, parts)
        self._deepest = max(self._deepest, len(parts))

    @property
    def common(self) -> int:
        """Folders around everything, up to one that is a split; if all images lie in one folder, that one is not."""
        around = self._around or []
        split = next((depth for depth, part in enumerate(around) if _kind_of_folder(part)), len(around))
        return min(split, max(self._deepest - 1, 0))


def settled(counts: Mapping[Place, int], *, from_folders: bool) -> dict[Place, Place]:
    """Settle what can only be said once all entries are known.

    Validation images are the held-out ones where there are no test images, or where those lack the classes that
    validation has; of the two the other is in no split. Folders around one split alone count for nothing if that gives
    the splits classes in common which they lack otherwise.

    Args:
        counts: What the entries were given.
        from_folders: The classes are folders; labels of the source's own stay as they are.

    Returns:
        For what was given, what becomes of it.
    """
    classes = {split: {label for of, label in counts if of == split and label} for split in (*SPLITS, _VALIDATION)}
    there = {split for split, _ in counts}
    hidden_test = bool(classes["train"] and classes[_VALIDATION]) and not classes["test"]
    held_out = _VALIDATION if _VALIDATION in there and ("test" not in there or hidden_test) else "test"
    around = {split: _around(classes[split]) for split in ("train", held_out)}
    stripped = [{_strip(label, len(around[split])) for label in classes[split]} for split in around]
    # imgs/cat beside cat, or set-train/cat beside set-test/cat; but Greek/alpha beside Hebrew/alpha are two classes.
    meant = not all(around.values()) or all(_kind_in(part) for parts in around.values() for part in parts)
    if not from_folders or classes["train"] & classes[held_out] or not stripped[0] & stripped[1] or not meant:
        around = {}
    names = {"": "", "train": "train", "test": "", _VALIDATION: "", held_out: "test"}
    return {(split, label): (names[split], _strip(label, len(around.get(split, ())))) for split, label in counts}


def names_both(parts: Iterable[str]) -> bool:
    """Whether some folder is called like train and another like test or val."""
    return bool(_one_of_each({kind: part for part in parts if (kind := _kind_of_folder(part))}))


def _common_folders(one: list[str], other: list[str]) -> list[str]:
    """What two paths have in common at their beginning."""
    same = [a == b for a, b in zip(one, other, strict=False)]
    return one[: (*same, False).index(False)]


def _kind_in(name: str) -> str:
    """The split that a name has in it as a word: train, test, val, or none."""
    found = _WORD.search(name.lower())
    return found[1] if found else ""


def _one_of_each(named: Mapping[str, str]) -> list[str]:
    held_out = named.get("test") or named.get(_VALIDATION)
    return [named["train"], held_out] if "train" in named and held_out else []


def _around(labels: set[str]) -> list[str]:
    paths = [_parts(label) for label in labels]
    common = paths[0] if paths else []
    for path in paths:
        common = _common_folders(common, path)
    return common[: max(map(len, paths), default=1) - 1]


def _strip(label: str, folders: int) -> str:
    return "/".join(_parts(label)[folders:])


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []


def _kind_of_folder(name: str) -> str:
    found = _FOLDER.fullmatch(name.lower())
    return found[1] if found else ""
