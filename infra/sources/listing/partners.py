"""The images of a key that are companions of plain images by their names: masks in a folder beside the images.

Names are compared without words for images and companions, within one split: 0001 of photos/0001.png and of
photo_masks/0001_mask.png. An equal name alone proves nothing, because images of two classes may have equal numbers. It
is certain if also one of these holds:

- the two lie in one folder, or the companion in a folder of its own inside, such as 0001.png and masks/0001.png;
- the folders differ by a word for a companion, such as train and train_masks;
- the plain image's folder is called like images, such as frames beside masks;
- the companion has such a word both in its name and in its folder's, or one that is never a class, such as gtFine.

Many images are compared by a sample of their names, the same of all keys, so that memory stays bounded. Names of plain
images wait in a file until some image has such a key, because most sources have none.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from heapq import nsmallest
from typing import BinaryIO, NamedTuple
from zlib import crc32

from infra.sources.keys import (
    CERTAIN,
    COMPANIONS,
    IMAGE_WORDS,
    folder_key,
    own_name,
    without_key,
    word_at_start,
    words_of,
)
from infra.sources.listing.folders import word_for_split
from infra.sources.source import Entry

_MOST = 1 << 16
_BATCH = 1 << 12
_COMPARED = 64
_ALL_NAMES = 1 << 32
_ABOUT_MASKS = "mask"


class _Keyed(NamedTuple):
    key: str
    folder: str
    by_name: bool


class Partners:
    """Collects names of images, and tells which keys have plain images of the same names.

    Args:
        waiting: An empty file for the names of plain images.
    """

    def __init__(self, waiting: BinaryIO) -> None:
        self._waiting, self._batch = waiting, list[tuple[str, str, str]]()
        self._plain: dict[str, set[str]] = defaultdict(set)
        self._keyed: dict[str, Counter[_Keyed]] = defaultdict(Counter)
        self._keys: set[str] = set()
        self._limit, self._count = _ALL_NAMES, 0

    def add(self, entry: Entry) -> None:
        """Note the name of one image."""
        if not entry.key:
            self._batch.append((entry.split, entry.folder, entry.name))
            if len(self._batch) >= _BATCH:
                self._write()
            return
        key = entry.key.lower()
        if key not in COMPANIONS:
            return
        self._keys.add(entry.key)
        if name := self._sampled(entry.split, entry.folder, entry.name):
            self._keyed[name][_Keyed(entry.key, entry.folder, _has_word(own_name(entry.name)))] += 1
            self._noted()

    def finish(self) -> None:
        """Compare the names of plain images, after the last image."""
        if not self._keys:
            return
        self._write()
        self._waiting.seek(0)
        for line in self._waiting:
            for split, folder, name in json.loads(line):
                if shared := self._sampled(split, folder, name):
                    self._plain[shared].add(folder)
                    self._noted()

    def _write(self) -> None:
        self._waiting.write(json.dumps(self._batch).encode() + b"\n")
        self._batch.clear()

    def _sampled(self, split: str, folder: str, name: str) -> str:
        """The part of a name that an image and its companions share, if it belongs to the sample; else nothing."""
        shared = f"{split or _split(folder)}/{_shared_name(own_name(name))}"
        return shared if crc32(shared.encode()) < self._limit else ""

    def _noted(self) -> None:
        self._count += 1
        while self._count > _MOST:
            self._thin()

    def certain(self) -> frozenset[str]:
        """Return the keys of which most images are certainly companions of plain images."""
        return self._most(certain=True)

    def likely(self) -> frozenset[str]:
        """Return the keys of which most images have the names of plain images, or that are too rare for the sample."""
        return self._most(certain=False)

    def _most(self, *, certain: bool) -> frozenset[str]:
        counts, found = Counter[str](), Counter[str]()
        for name, keyed in self._keyed.items():
            plain = _Folders(self._plain.get(name, set()))
            for one, count in keyed.items():
                counts[one.key] += count
                found[one.key] += count * (plain.any if not certain else plain.have(one))
        return frozenset(key for key in self._keys if 2 * found[key] >= counts[key] and (counts[key] or not certain))

    def _thin(self) -> None:
        """Halve the sample."""
        self._limit //= 2
        for names in (self._plain, self._keyed):
            for name in [one for one in names if crc32(one.encode()) >= self._limit]:
                del names[name]
        self._count = sum(map(len, self._plain.values())) + sum(map(Counter.total, self._keyed.values()))


class _Folders:
    """The folders in which plain images of one name lie; of very many, a few stand for all where names decide."""

    def __init__(self, folders: set[str]) -> None:
        self._near = {_joined(folder.lower().split("/")) for folder in folders}
        self._few = nsmallest(_COMPARED, folders)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._few)

    def have(self, keyed: _Keyed) -> bool:
        """Tell whether an image of a key is certainly a companion of a plain image in one of them."""
        own = keyed.folder.lower().split("/")
        if _joined(own) in self._near or _joined(map(_without_word, own)) in self._near:
            return True
        return any(_is_companion(keyed, folder) for folder in self._few)


def _has_word(own: str) -> bool:
    """Tell whether an image's own name has the word for a companion, and not its folder alone."""
    return bool(word_at_start(own)) or without_key(own) != own


def _joined(parts: Iterable[str]) -> str:
    return "/".join(part for part in parts if part)


def _shared_name(name: str) -> str:
    """Return the part of a name that an image and its companions share."""
    words = words_of(name)
    place = next((number for number, word in enumerate(words) if word in COMPANIONS), len(words))
    shared = words[:place] if place else words[1:]
    return "_".join(word for word in shared if word not in IMAGE_WORDS)


@lru_cache(1024)
def _split(folder: str) -> str:
    return word_for_split(folder)


@lru_cache(4096)
def _is_companion(keyed: _Keyed, plain: str) -> bool:
    """Tell whether an image of a key is certainly a companion of a plain one of the same name in another folder."""
    own, other = keyed.folder.lower().split("/"), plain.lower().split("/")
    different = [part for part in other if part not in own]
    if any(_ABOUT_MASKS in part for part in different):
        return False
    return (
        keyed.key.lower() in CERTAIN
        or any(words_of(part)[-1:] and words_of(part)[-1] in IMAGE_WORDS for part in different)
        or (keyed.by_name and bool(folder_key(keyed.folder)))
    )


def _without_word(folder: str) -> str:
    """Return a folder's name without a word for a companion at its end."""
    words = words_of(folder)
    return "_".join(words[:-1]) if words[-1:] and words[-1] in COMPANIONS else folder
