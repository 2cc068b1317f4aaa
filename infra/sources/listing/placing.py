"""The split and the class of every image, from the names of the folders and files around it.

The rules, by number; tests/infra/sources/listing/test_placing.py has examples of each.

1. Folders around all images are ignored, up to the first that names a split. If all images lie in one and the same
   folder, that folder is not ignored: it may be a class.
2. A folder names a split if its whole name is a word for it: train, Training, train2017, test_images, val-set.
3. The split of an image is the first of these that exists: what the source itself says; what the outermost folder
   names; what the outermost folder around its archive (or other file of many images) names; a word of the name of that
   file. If a file holds just one image, its own name says nothing.
4. The class of an image is its label if the source gives labels to any image. Otherwise it is the path of its folders,
   without the outermost if that names the split.
5. The held-out split is test. It is val if there are no test images, or if train and val have classes and test has
   none: published test sets often lack their labels.
6. An image of val or test that is not held out is in no split.
7. Classes may lie in folders of their own in each split: imgs/cat in train, cat in test. If the classes are folders,
   and train and the held-out split have no class in common, the folders around all classes of each split are removed,
   provided that this gives the splits a class in common, and that either one split has no such folders or all of them
   have a word for a split in their names (set-train/cat, set-test/cat). Without the last condition Greek/alpha in train
   and Hebrew/alpha in test would become one class.
8. Folders that have words for train and for test or val in their names, but name no split (train_station, test_tube),
   look like splits. `Survey.hidden_splits` and `names_both` find them, so that the listing can refuse them.
9. If no outermost folder names a split, a word in its name may (trainA, trainB, testA, testB; seg_train, seg_test), if
   the rest of the name occurs in train and in test or val. If there are several rests, they are the classes. Otherwise
   a folder further down may name it (cats/train, cats/test, dogs/train), if train and test or val lie beside each other
   in some folder. `split_names` moves such a folder to the top before all other rules: train/A, train, train/cats.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from infra.sources.listing.cells import Cell
from infra.sources.listing.folders import path_parts, split_of_folder, word_for_split
from infra.sources.source import Entry


class NamedSplit(NamedTuple):
    """A split that a name gives.

    Attributes:
        split: `train`, `test` or `val`; empty if no name gives one.
        folder: The folder that names it; empty if the name of a file has the word.
    """

    split: str
    folder: str


@dataclass(frozen=True)
class Placing:
    """Gives an entry its split and class by rules 1 to 4; the split may be `val`.

    Attributes:
        around: How many folders are around all images.
        around_files: How many folders are around all files of many images.
        labelled: Whether the source gives labels to any image.
    """

    around: int
    around_files: int
    labelled: bool

    def __call__(self, entry: Entry) -> Cell:
        """Return the split and the class of an entry."""
        named, label = _from_names(self, entry.folder, entry.file if entry.at else "")
        return entry.split or named.split, entry.label if self.labelled else label

    def named_split(self, entry: Entry) -> "NamedSplit":
        """Return the split that names give an entry, and the folder that names it."""
        named, _ = _from_names(self, entry.folder, entry.file if entry.at else "")
        return named


@lru_cache(1024)
def _from_names(placing: Placing, folder: str, file: str) -> tuple[NamedSplit, str]:
    """The split and the class that names give to an image in a folder; `file` is empty unless it holds many images."""
    folders = path_parts(folder)[placing.around :]
    *folders_around_file, name = file.split("/")
    named = _split_from_names(folders, folders_around_file[placing.around_files :], name)
    return named, _class_from_folders(folders)


def _split_from_names(folders: list[str], folders_around_file: list[str], file_name: str) -> NamedSplit:
    """Rule 3, for an image whose source names no split."""
    for around in (folders, folders_around_file):
        if split := _split_of_outermost(around):
            return NamedSplit(split, around[0])
    return NamedSplit(word_for_split(file_name), "")


def _class_from_folders(folders: list[str]) -> str:
    """Rule 4, if the source gives no labels."""
    return "/".join(folders[1:] if _split_of_outermost(folders) else folders)


def _split_of_outermost(folders: list[str]) -> str:
    return split_of_folder(folders[0]) if folders else ""
