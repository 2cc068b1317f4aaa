"""The keys of images of which one sample has several: the image, its mask, a left and a right view.

A key comes from the name of an image, in this order:

1. from the word between its first dot and its suffix: `mask` of 0001.mask.png;
2. from a word for a companion at its end: `mask` of 0001_mask.png;
3. from a folder around it that is called so: `masks` of masks/0001.png;
4. from its suffix, if an image with the same name and another suffix came just before: `.png` of 0001.png after
   0001.jpg. It counts if most images have a second one, all of the same suffix.

All other images are plain: their key is empty. A column of Parquet is a key too. `Keys` decides which key is taken.
"""

import re
from collections import Counter
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
_COMPANIONS = frozenset(
    word + plural
    for word in ("mask", "seg", "segmentation", "annotation", "matte", "trimap", "depth", "gt", "groundtruth")
    for plural in ("", "s")
)
_COMPANION_FOLDERS = _COMPANIONS | {"labels", "segmentationclass", "segmentationobject"}
_IMAGE_FOLDERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "rgb", "inputs", "input"))


class NameKeys:
    """The keys that names give, image after image in the order of a source."""

    def __init__(self, chosen: str = "") -> None:
        self._chosen, self._stem, self._suffix = chosen, "", ""

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
            key = _folder_key(folder)
        if not key and stem == self._stem and suffix != self._suffix:
            return suffix.lower()
        self._stem, self._suffix = stem, suffix
        return key

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
        self._by_folder: set[str] = set()
        self._has_image_folder = False
        self._paired: Counter[str] = Counter()
        self._folder, self._plain_in_folder, self._plain = ("", ""), 0, 0

    def add(self, entry: Entry) -> None:
        """Count one image; beyond a bound, images of new keys count as plain."""
        key = entry.key
        if (entry.split, entry.folder) != self._folder:
            self._folder, self._plain_in_folder = (entry.split, entry.folder), 0
            self._has_image_folder = self._has_image_folder or is_image_folder(entry.folder)
        if not key:
            self._plain += 1
            self._plain_in_folder += 1
        elif key in self.counts or len(self.counts) <= _MOST_KEYS:
            self.counts[key] += 1
            if key == _folder_key(entry.folder):
                self._by_folder.add(key)
            elif self._plain_in_folder:
                self._plain_in_folder -= 1
                self._paired[key] += 1

    def left_out(self) -> frozenset[str]:
        """Return the keys whose images are left out.

        Raises:
            InputError: If there are several keys, and none is called like an image.
        """
        if len(self.counts) > _MOST_KEYS:
            return frozenset()
        real = {key for key in self.counts if self._is_key(key)}
        beside_plain = {key for key in real if self._plain and self._is_beside_plain(key)}
        apart = real - beside_plain
        # Plain images elsewhere, such as a preview, say nothing about samples of which every image has a key.
        winner = next((key for key in IMAGE_KEYS if key in apart), "")
        if not winner and len(apart) > 1:
            raise several_images(sorted(apart), Term.SOURCE, f", or to {ALL} for all of them")
        return frozenset(beside_plain | (apart - {winner} if winner else set()))

    def _is_key(self, key: str) -> bool:
        """Tell whether a word is a key, and no part of names or class of its own."""
        if key in self._by_folder:
            return self._has_image_folder
        if key.startswith("."):
            # One picture in many formats is no pair of an image and its mask.
            return 2 * self.counts[key] > self._plain and sum(one.startswith(".") for one in self.counts) == 1
        return self.counts[key] >= _FEWEST

    def _is_beside_plain(self, key: str) -> bool:
        """Tell whether most images of a key lie beside a plain image of the same folder and split."""
        if key in self._by_folder or key.startswith("."):
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
    if "_" in name:
        rest, _, word = name.rpartition("_")
        if word.lower() in _COMPANIONS:
            return word.lower(), rest
    return "", name


@lru_cache(1024)
def _folder_key(folder: str) -> str:
    return next((part.lower() for part in folder.split("/") if part.lower() in _COMPANION_FOLDERS), "")


@lru_cache(1024)
def is_image_folder(folder: str) -> bool:
    """Tell whether one of the folders of a path is called like images."""
    return any(part.lower() in _IMAGE_FOLDERS for part in folder.split("/"))
