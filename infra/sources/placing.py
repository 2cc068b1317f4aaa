"""Splits and classes, where names of folders and files give them."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from infra.sources.source import Entry

SPLITS = ("train", "test")
_VALIDATION = "val"
# train, Training, train2017, test_images, validation, val-set; of a file only the beginning: train-00000-of-00002.
_FOLDER = re.compile(r"(train|test|val)(ing|id|idation)?[-_ ]?(set|data|images|imgs)?[-_ ]?[0-9]*")
_FILE = re.compile(r"(train|test|val)(ing|id|idation)?(set)?(?![a-z])")


@dataclass(frozen=True)
class Placing:
    """Gives entries their splits and classes.

    A split is what the source says itself, else what the outermost folder is called, else, of a file of many images,
    what its own outermost folder is called or its name begins with. The other folders are the class. Folders around
    everything count for nothing. Validation images are held out where there are no test images, else in no split.

    Attributes:
        around: How many folders are around all images.
        around_files: The same of the files of many images.
        has_test: Whether some split is called test.
    """

    around: int
    around_files: int
    has_test: bool

    def __call__(self, entry: Entry) -> tuple[str, str]:
        """Return an entry's split and its class, empty where it has none."""
        split, label = _from_names(self, entry.split, entry.folder, entry.file if entry.at else "")
        return split, entry.label or label


@lru_cache(1024)
def _from_names(placing: Placing, split: str, folder: str, file: str) -> tuple[str, str]:
    """The split and the class of what lies in a folder, and in a file of many images, if it is named."""
    folders, (*around_file, name) = _parts(folder)[placing.around :], file.split("/")
    kind = _kind_of_folder(folders[0]) if folders else ""
    outermost = around_file[placing.around_files : placing.around_files + 1]
    split = split or kind or (_kind_of_folder(outermost[0]) if outermost else "") or _kind_of_file(name)
    if split == _VALIDATION:
        split = "" if placing.has_test else "test"
    return split, "/".join(folders[1:] if kind else folders)


class Survey:
    """What has to be known of all entries before any can be placed, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._folders, self._files = _Paths(), _Paths()
        self._kinds: set[str] = set()
        self._file = ""

    def add(self, entry: Entry) -> None:
        """Look at one entry."""
        self._kinds.add(entry.split)
        self._folders.add(entry.folder)
        if entry.at and entry.file != self._file:
            self._file = entry.file
            self._files.add(entry.file.rpartition("/")[0])
            self._kinds.add(_kind_of_file(entry.file.rpartition("/")[2]))

    def placing(self) -> Placing:
        """Return what places all entries that were looked at."""
        around, around_files = self._folders.common, self._files.common
        kinds = self._kinds | self._folders.kinds[around] | self._files.kinds[around_files]
        return Placing(around, around_files, has_test="test" in kinds)


class _Paths:
    """Some folders: how many are around all of them, and which splits are named how far inside."""

    def __init__(self) -> None:
        self.kinds: dict[int, set[str]] = defaultdict(set)
        self._around: list[str] | None = None
        self._deepest = 0
        self._last: str | None = None

    def add(self, path: str) -> None:
        if path == self._last:
            return
        self._last, parts = path, _parts(path)
        for depth, part in enumerate(parts):
            if kind := _kind_of_folder(part):
                self.kinds[depth].add(kind)
        if self._around is None:
            self._around = parts
        same = [one == other for one, other in zip(self._around, parts, strict=False)]
        self._around = self._around[: (*same, False).index(False)]
        self._deepest = max(self._deepest, len(parts))

    @property
    def common(self) -> int:
        """Folders around everything, up to one that is a split; if all images lie in one folder, that one is not."""
        around = self._around or []
        split = next((depth for depth, part in enumerate(around) if _kind_of_folder(part)), len(around))
        return min(split, max(self._deepest - 1, 0))


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []


def _kind_of_folder(name: str) -> str:
    found = _FOLDER.fullmatch(name.lower())
    return found[1] if found else ""


def _kind_of_file(name: str) -> str:
    found = _FILE.match(name.lower())
    return found[1] if found else ""
