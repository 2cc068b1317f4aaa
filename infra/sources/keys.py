"""The keys of images of which one sample has several: the image, its mask, a left and a right view.

A key comes from the name of an image, in this order:

1. from the word between its first dot and its suffix: `mask` of 0001.mask.png;
2. from a word for a companion at its end, or all of it: `mask` of 0001_mask.png, 0001-mask.png and mask.png;
3. from a folder around it that is called so, or ends so: `masks` of masks/0001.png and photo_masks/0001.png;
4. from such a word at its beginning: `mask` of mask_0001.png;
5. from its suffix, if an image with the same name and another suffix came just before: `.png` of 0001.png after
   0001.jpg. It counts if most images have a second one, all of the same suffix;
6. from its archive, if others lie beside it: `masks.zip` beside images.zip and `train_masks.zip` beside train.zip.

All other images are plain: their key is empty. A column of Parquet is a key too. `Keys` decides which key is taken.
"""

import re
from collections import Counter
from collections.abc import Collection
from functools import lru_cache

from infra.errors import InputError, Term
from infra.sources.source import Entry

ALL, PLAIN = "*", "plain"
# The first of these that exists is the image.
IMAGE_KEYS = ("image", "img", "jpg", "png", "bytes", "jpeg", "webp", "rgb", "input", "photo", "picture")
# With more keys, or with one of a single image, the words are parts of names.
_MOST_KEYS = 16
_FEWEST = 2
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
# These words leave no doubt; the others may also be classes.
CERTAIN = frozenset(
    word + plural
    for word in ("seg", "segm", "segmentation", "trimap", "gtfine", "gtcoarse", "groundtruth", "labelid")
    for plural in ("", "s")
) | {"labeltrainids", "instanceids", "instancetrainids", "segmentationclass", "segmentationobject"}
COMPANIONS = CERTAIN | {
    word + plural for word in ("mask", "annotation", "matte", "depth", "label", "gt") for plural in ("", "s")
}
_IMAGE_FOLDERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "rgb", "inputs", "input"))
IMAGE_WORDS = _IMAGE_FOLDERS | {"photo", "picture", "pictures", "frame", "frames", "leftimg8bit", "rightimg8bit"}
_SPLIT_WORDS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation"))
# People with masks and without are no masks.
_NO_COMPANION = frozenset(("with", "without", "no", "non", "not"))
_SEPARATORS = "-_. "
_SEPARATOR = re.compile(rf"[{_SEPARATORS}]+")


class NameKeys:
    """The keys that names give, image after image in the order of a source.

    Args:
        chosen: The key that the user chose; empty for none.
        archive: The key of plain images outside all folders called like images; empty if they have none.
    """

    def __init__(self, chosen: str = "", archive: str = "") -> None:
        self._chosen, self._archive, self._stem, self._suffix = chosen, archive, "", ""

    def of(self, stem: str, suffix: str) -> str:
        """Return the key of an image; empty if it is plain, or if every image is wanted.

        Args:
            stem: Its path without the suffix.
            suffix: The rest of its path, with the dot.
        """
        if self._chosen == ALL:
            return ""
        folder, _, name = stem.rpartition("/")
        key = _key_and_rest(name)[0]
        if not key and folder:
            key = folder_key(folder)
        key = key or word_at_start(name)
        if not key and stem == self._stem and suffix != self._suffix:
            return suffix.lower()
        self._stem, self._suffix = stem, suffix
        return key or (self._archive if not is_image_folder(folder) else "")

    def takes(self, key: str) -> bool:
        """Tell whether the user's choice, if there is one, takes images of this key."""
        return not self._chosen or self._chosen in (ALL, key or PLAIN)

    def waits(self, key: str) -> str:
        """Return the key on which `Keys` has to decide; empty if the user chose."""
        return "" if self._chosen else key


class Keys:
    """Counts the images of each key, and decides which are taken; a few counts are in memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._outside: Counter[str] = Counter()
        self._loose: set[str] = set()
        self._archives: set[str] = set()
        self._has_image_folder = False
        self._paired: Counter[str] = Counter()
        self._folder, self._plain_in_folder, self._plain = ("", ""), 0, 0

    def add(self, entry: Entry) -> None:
        """Count one image; beyond a bound, images of new keys count as plain."""
        key = entry.key
        if (entry.split, entry.folder) != self._folder:
            self._folder, self._plain_in_folder = (entry.split, entry.folder), 0
        if not key:
            self._plain += 1
            self._plain_in_folder += 1
            self._has_image_folder = self._has_image_folder or is_image_folder(entry.folder)
        elif key in self.counts or len(self.counts) <= _MOST_KEYS or key in COMPANIONS:
            self.counts[key] += 1
            if key == archive_key(entry.file):
                self._archives.add(key)
            elif key == folder_key(entry.folder):
                self._loose.add(key)
                self._outside[key] += not is_image_folder(entry.folder)
            elif key == word_at_start(own_name(entry.name)):
                self._loose.add(key)
            elif self._plain_in_folder:
                self._plain_in_folder -= 1
                self._paired[key] += 1

    def left_out(self, of_plain: Collection[str] = ()) -> frozenset[str]:
        """Return the keys whose images are left out.

        Args:
            of_plain: Keys whose images are certainly companions of plain images, by their names.

        Raises:
            InputError: If there are several keys, and none is called like an image.
        """
        if len(self.counts) > _MOST_KEYS:
            return frozenset(of_plain)
        real = {key for key in self.counts if key in of_plain or self._is_key(key)}
        beside_plain = {key for key in real if key in of_plain or (self._plain and self._is_beside_plain(key))}
        apart = real - beside_plain
        # Plain images elsewhere, such as a preview, say nothing about samples of which every image has a key.
        winner = next((key for key in IMAGE_KEYS if key in apart), "")
        if not winner and len(apart) > 1:
            raise several_images(sorted(apart), Term.SOURCE, f", or to {ALL} for all of them")
        return frozenset(beside_plain | (apart - {winner} if winner else set()))

    def _is_key(self, key: str) -> bool:
        """Tell whether a word is a key, and no part of names or class of its own."""
        if key in self._archives:
            return self._plain > 0
        if key in self._loose:
            return self._has_image_folder and 2 * self._outside[key] >= self.counts[key]
        if key.startswith("."):
            # One picture in many formats is no pair of an image and its mask.
            return 2 * self.counts[key] > self._plain and sum(one.startswith(".") for one in self.counts) == 1
        return self.counts[key] >= _FEWEST

    def _is_beside_plain(self, key: str) -> bool:
        """Tell whether most images of a key lie beside a plain image of the same folder and split."""
        if key in self._loose | self._archives or key.startswith("."):
            return True
        return 2 * self._paired[key] >= self.counts[key]


def several_images(keys: list[str], item: str, other_way: str = "") -> InputError:
    """Return the error of samples that hold several images, of which none is called like one."""
    remedy = f"set {Term.IMAGE_KEY} to one of them{other_way}"
    return InputError(f"holds several images in a sample: {', '.join(keys)[:200]}", item=item, remedy=remedy)


def without_key(stem: str) -> str:
    """Return the name of an image without its suffix and without the key that the name itself gives.

    Args:
        stem: Its own name without the suffix.
    """
    return _key_and_rest(stem)[1]


def _key_and_rest(name: str) -> tuple[str, str]:
    """The key that a name without its suffix gives, if any, and the rest of the name."""
    if "." in name:
        rest, _, inner = name.partition(".")
        if _KEY.fullmatch(inner):
            return inner, rest
    if word := word_at_end(name):
        return word, name[: -len(word)].rstrip(_SEPARATORS)
    return "", name


def own_name(name: str) -> str:
    """Return the name of an image without folders, archive and suffix."""
    own = name.rpartition("/")[2].rpartition("!")[2]
    return own.rpartition(".")[0] or own


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [word for word in _SEPARATOR.split(name.lower()) if word]


def word_at_end(name: str) -> str:
    """Return the word for a companion at the end of a name, or that is all of it, in lower case; else nothing."""
    if not name[-1:].isalpha():
        return ""
    *before, last = words_of(name) or [""]
    return last if last in COMPANIONS and (not before or before[-1] not in _NO_COMPANION) else ""


def word_at_start(name: str) -> str:
    """Return the word for a companion at the beginning of a longer name, in lower case; else nothing."""
    if not name[:1].isalpha():
        return ""
    first, *rest = words_of(name) or [""]
    return first if rest and first in COMPANIONS else ""


@lru_cache(1024)
def folder_key(folder: str) -> str:
    """Return the word for a companion that a folder around an image has, in lower case; else nothing."""
    parts = folder.lower().split("/")
    if whole := next((part for part in parts if part in COMPANIONS), ""):
        return whole
    # In people_masks/images the innermost folder counts.
    ends = (word_at_end(part) or part for part in reversed(parts) if word_at_end(part) or part in IMAGE_WORDS)
    end = next(ends, "")
    return end if end in COMPANIONS else ""


@lru_cache(1024)
def archive_key(file: str) -> str:
    """Return the own name of an archive that is called like companions; else nothing.

    Only words for images and splits may lie before the word for a companion: labels.tar, train_masks.zip.
    """
    name = file.rpartition("/")[2]
    stem = name.partition(".")[0]
    before = words_of(stem)[:-1]
    is_companion = word_at_end(stem) and all(word in IMAGE_WORDS | _SPLIT_WORDS for word in before)
    return name if is_companion else ""


@lru_cache(1024)
def is_image_folder(folder: str) -> bool:
    """Tell whether one of the folders of a path is called like images."""
    return any(part.lower() in _IMAGE_FOLDERS for part in folder.split("/"))
