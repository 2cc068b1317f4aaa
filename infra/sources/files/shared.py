"""The files that two sets of files share, by whatever links they reach them."""

import os
import re
from functools import lru_cache

from infra.sources.files.file_set import FileSet
from infra.sources.files.pattern import HUB, REMOTE, base_and_pattern

# A data set of the Hub without a revision is that of its main branch.
_WITHOUT_REVISION = re.compile(rf"^({HUB}datasets/[^/@]+/[^/@]+)(?=/|$)")


class SharedFiles:
    """Tells whether a set of files also finds a file of another set: as named, behind links, or as a link's target.

    Memory: the targets of links to files in the set.

    Args:
        files: The set; its files are listed once here, if they are local.
    """

    def __init__(self, files: FileSet) -> None:
        self._places = [(place_of(base), pattern) for base, pattern in map(base_and_pattern, files.sources)]
        self._targets: set[str] = set()
        if all(source.startswith(REMOTE) for source in files.sources):
            return
        # Another set of the same files, because a listing that has begun goes on only once.
        for file in FileSet(files.sources, files.apart).find():
            path = files.path(file.name)
            if not path.startswith(REMOTE) and os.path.islink(path):  # noqa: PTH114 - as fast as can be
                self._targets.add(os.path.realpath(path))

    def __contains__(self, path: str) -> bool:
        """Tell whether the set finds the file of this absolute path or URI."""
        if path.startswith(REMOTE):
            return self._covers(_with_revision(path))
        folder, name = os.path.split(path)
        named = f"{_folder_place(folder)}/{name}"
        target = os.path.realpath(named) if os.path.islink(named) else named  # noqa: PTH114
        return target in self._targets or self._covers(named) or self._covers(target)

    def _covers(self, file: str) -> bool:
        for place, pattern in self._places:
            name = file.removeprefix(f"{place}/")
            hidden = any(part.startswith(".") for part in name.split("/"))
            if name != file and not hidden and (pattern is None or pattern.matches(name)):
                return True
        return False


def place_of(base: str) -> str:
    """Return a folder by one path or URI, whatever links lead to it."""
    return _with_revision(base) if base.startswith(REMOTE) else os.path.realpath(base or "/").rstrip("/")


@lru_cache(1024)
def _folder_place(folder: str) -> str:
    return os.path.realpath(folder)


def _with_revision(text: str) -> str:
    return _WITHOUT_REVISION.sub(r"\1@main", text)
