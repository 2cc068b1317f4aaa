"""Classes in the names of files: a word, a separator and a number, as in cat_0001.png and dog.12.jpg.

A key after the number does not matter: cat_0001.image.png and cat_0001_mask.png.
"""

import re
from pathlib import PurePosixPath

from infra.sources.formats.metadata import own_name
from infra.sources.keys import without_key
from infra.sources.listing.folders import word_for_split

_WORD_AND_NUMBERS = re.compile(r"(?P<word>.*?[^\W_])(?:(?:[-_. ]+\d+)+| ?\(\d+\))")
_LETTER = re.compile(r"[^\W\d_]")
# Words for any image; cameras and programs put them before their numbers.
_ANY_IMAGE = re.compile(
    "images?|imgs?|pics?|pictures?|photos?|frames?|samples?|screenshot|screen|scan|file|page|untitled"
    "|dsc[nfs]?|mvimg|pxl|cimg|sam|gopr|gopro|dji|wp|[psnxi]"
)
_LAST_NUMBER = re.compile(r"(\d{1,18})$")
_MOST_WORDS = 100_000
_LONGEST_SUFFIX = 16


def short_suffix(name: str) -> str:
    """Return the suffix of a file that is no image, in lower case; a longer one is a part of its name, so nothing."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if len(suffix) <= _LONGEST_SUFFIX else ""


def class_word(name: str) -> str:
    """Return the word before the numbers in the name of a file; empty if the name has another form.

    Args:
        name: The name of the file; its folders and the archive around it do not matter.
    """
    stem = own_name(name).rpartition(".")[0]
    found = _WORD_AND_NUMBERS.fullmatch(stem) or _WORD_AND_NUMBERS.fullmatch(without_key(stem))
    return found["word"] if found and _LETTER.search(found["word"]) else ""


def last_number(name: str) -> int | None:
    """Return the number at the end of the name of a file, before its suffix and its key; None if there is none.

    Args:
        name: The name of the file; only what follows its folders and the archive around it counts.
    """
    own = own_name(name)
    stem = own.rpartition(".")[0] or own
    found = _LAST_NUMBER.search(stem) or _LAST_NUMBER.search(without_key(stem))
    return int(found[1]) if found else None


class FileNames:
    """Whether the words in the names of files may be classes.

    It stops looking at the first name that has none, so that most sources cost nothing.
    """

    def __init__(self) -> None:
        self._images: dict[str, int] | None = {}

    def add(self, name: str) -> None:
        """Look at the name of one image."""
        if self._images is None:
            return
        word = class_word(name)
        if not word or _ANY_IMAGE.fullmatch(word.lower()) or word_for_split(word) or len(self._images) > _MOST_WORDS:
            self._images = None
            return
        self._images[word] = self._images.get(word, 0) + 1

    @property
    def words(self) -> frozenset[str]:
        """The words, if all names have one."""
        return frozenset(self._images or ())

    @property
    def are_classes(self) -> bool:
        """Whether every name has a word that may be a class, and there are two or more, each in several names."""
        return self._images is not None and len(self._images) > 1 and min(self._images.values()) > 1
