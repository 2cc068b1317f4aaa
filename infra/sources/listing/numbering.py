"""Folders that hold parts of a collection and no classes: numbered shards, and dates.

Shards, by rule; tests/infra/sources/listing/test_numbering.py has examples of each:

a. A word for a part and a number, the same word in all names: part-3, shard_07, images_001.
b. Numbers padded with zeros to one length, if the numbers of the files run on from folder to folder, as in FFHQ
   (00000/00000.png, 01000/01000.png), or if the names have four or more digits and all folders but the last hold nearly
   as many images as the largest. Folders of classes hold as many images as there are: 00000 to 00042 of GTSRB differ.

Plain numbers without padding (0 to 9, or 0, 2, 10) are classes, whatever they hold. Dates are years, months and days in
the usual spellings, and numbers below 32 in a folder that is a date itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(
    r"(?P<word>(?:[a-z0-9]*[a-z][-_ ])?"
    r"(?:parts?|shards?|chunks?|batch(?:es)?|blocks?|buckets?|partitions?|pieces?|slices?|splits?|folds?|subsets?|sets?"
    r"|dirs?|directory|folders?|subfolders?|archives?|vol(?:ume)?s?|images?|imgs?|photos?|pics?|pictures?|data|files?))"
    r"[-_. ]?\d+(?:[-_ ]?of[-_ ]?\d+)?"
)
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_SEP = r"[-_. ]"
_DATE = re.compile(
    rf"{_YEAR}(?:{_SEP}{_MONTH})?|{_YEAR}{_SEP}{_MONTH}{_SEP}{_DAY}(?:\D.*)?"
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])?(?:[-_ ].*)?|{_DAY}{_SEP}{_MONTH}{_SEP}{_YEAR}(?:\D.*)?"
)
_BELOW_A_DATE = re.compile(rf"{_DAY}(?:{_SEP}{_DAY})?|{_MONTH}")
_NUMBER = re.compile(r"\d{1,18}")
# A folder of a shard holds at least this share of the images that the largest holds.
_NEARLY = 0.8
_LONG_NUMBER = 4


@dataclass
class Contents:
    """The images of all folders of one name.

    Attributes:
        images: Their number.
        lowest: The lowest number at the end of a file's name, of those that were looked at; None if one has no number.
        highest: The highest.
    """

    images: int
    lowest: int | None
    highest: int | None

    def add(self, other: "Contents") -> None:
        """Add the images of one more folder of the name."""
        self.images += other.images
        if self.lowest is None or self.highest is None or other.lowest is None or other.highest is None:
            self.lowest = self.highest = None
        else:
            self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)


def is_numbered(name: str) -> bool:
    """Tell whether a folder's name may be a shard's or a date."""
    lower = name.lower()
    return any(pattern.fullmatch(lower) for pattern in (_NUMBER, _PART, _DATE))


def parts_of(folders: Mapping[str, Contents], around: str) -> str:
    """Return what folders look like: "shards", "dates", or nothing if they may be classes.

    Args:
        folders: The contents by the folder's name; two or more.
        around: The name of the folder around them; empty if there is none.
    """
    names = sorted(folders, key=lambda name: (len(name), name))
    if all(_DATE.fullmatch(name.lower()) for name in names):
        return "dates"
    if _DATE.fullmatch(around.lower()) and all(_BELOW_A_DATE.fullmatch(name) for name in names):
        return "dates"
    words = {found["word"] if (found := _PART.fullmatch(name.lower())) else "" for name in names}
    if len(words) == 1 and "" not in words:
        return "shards"
    if _are_padded(names) and (_run_on(folders, names) or _are_alike(folders, names)):
        return "shards"
    return ""


def first_to_last(names: list[str]) -> str:
    """Return the first and the last of numbered names."""
    ordered = sorted(names, key=lambda name: (len(name), name))
    return f"{ordered[0][:24]}–{ordered[-1][:24]}"


def _are_padded(names: list[str]) -> bool:
    """Whether all names are numbers of one length, and at least one begins with a zero."""
    same = len({len(name) for name in names}) == 1 and len(names[0]) > 1
    return same and all(map(_NUMBER.fullmatch, names)) and any(name.startswith("0") for name in names)


def _run_on(folders: Mapping[str, Contents], names: list[str]) -> bool:
    """Whether the numbers of each folder's files begin above those of the folder before."""
    highest = -1
    for name in names:
        contents = folders[name]
        if contents.lowest is None or contents.highest is None or contents.lowest <= highest:
            return False
        highest = contents.highest
    return True


def _are_alike(folders: Mapping[str, Contents], names: list[str]) -> bool:
    """Whether all folders but the last hold nearly as many images as the largest."""
    counts = [folders[name].images for name in names]
    return len(names[0]) >= _LONG_NUMBER and min(counts[:-1]) >= _NEARLY * max(counts)
