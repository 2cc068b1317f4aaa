"""The split and the class of every image, from the names of the folders and files around it.

The rules, by number; tests/infra/sources/listing/test_placing.py has examples of each.

1. Folders around all images are ignored, up to the first that names a split; so are folders around all images of all
   splits, below the folders of the splits. If all images lie in one and the same folder, that folder is not ignored:
   it may be a class.
2. A folder names a split if its whole name is a word for it: train, Training, train2017, test_images, val-set.
3. The split of an image is the first of these that exists: what the source itself says; what a table such as
   list_eval_partition.txt says (`partition`), which is none if it has no row for the image; what the outermost folder
   names; what the outermost folder around its archive (or other file of many images) names; a word of the name of that
   file. If a file holds just one image, its own name says nothing.
4. Classes come from the first of these (`ruling.AUTO_ORDER`), unless the user chooses another:
   a. Labels of the source itself, if it gives any image one. If they are several per image, there are no classes.
   b. Metadata files (`formats.metadata`, `formats.tables`), if they name any image. An image outside all folders that
      hold such a file has the class of its folder, unless that is called like images (images, imgs, jpegimages). A
      table named after a split, as train.csv is, says nothing of images in a folder of another split.
   c. The outermost folder that is left, if there are several names; `label_depth` chooses a deeper one or the whole
      path. Numbered shards and dates are no classes (`numbering`).
   d. Words in the names of files, if all of them, or all in folders called train, have the form of cat_0001.png
      (`file_names`).
   e. None.
5. The held-out split is test. It is val if there are no test images, or if train and val have classes and test has
   none: published test sets often lack their labels.
6. An image of val or test that is not held out is in no split.
7. Classes may lie in folders of their own in one split: imgs/cat in train, cat in test. If the classes are folders,
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

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from infra.sources.keys import is_image_folder
from infra.sources.listing.cells import DEEPER, Cell, class_at
from infra.sources.listing.file_names import class_word
from infra.sources.listing.folders import path_parts, split_of_folder, word_for_split
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.listing.partition import Partition
from infra.sources.listing.ruling import LabelRule, Ruling
from infra.sources.listing.survey import Survey
from infra.sources.source import Entry

# Test sets whose labels are not published usually have a negative number instead.
_NO_CLASS = re.compile(r"-[0-9]+")


class NamedSplit(NamedTuple):
    """A split that a name gives.

    Attributes:
        split: `train`, `test` or `val`; empty if no name gives one.
        folder: The folder that names it; empty if the name of a file has the word, or a table gives it.
        by_table: Whether a table gives it.
    """

    split: str
    folder: str
    by_table: bool = False


@dataclass
class Outside:
    """The classes of images outside all folders that hold a metadata file.

    Attributes:
        has_classes: Whether one has the class of its folder.
        in_images: Whether one has none because its folder is called like images.
    """

    has_classes: bool = False
    in_images: bool = False


class Around(NamedTuple):
    """The numbers of folders that rule 1 ignores.

    Attributes:
        images: Around all images.
        in_splits: Around all images below the folders of their splits.
        files: Around all files of many images.
    """

    images: int
    in_splits: int
    files: int


@dataclass(frozen=True)
class Placing:
    """Gives an entry its split and class by rules 1 to 4; the split may be `val`.

    Attributes:
        around: How many folders to ignore.
        rule: Where classes come from.
        depth: Which folder is the class, from 1; 0 for the whole path.
        metadata: The labels in metadata files.
        partition: The splits in tables.
        signs: Whether -1 is a label like any other.
        tabled: Whether a table gives splits.
        words: The words in file names that are classes; None for all.
        deeper: How many folders below the class are kept for rule 7.
        outside: What became of images outside all folders that hold a metadata file.
    """

    around: Around
    rule: LabelRule
    depth: int
    metadata: MetadataLabels
    partition: Partition
    signs: bool
    tabled: bool
    words: frozenset[str] | None = None
    deeper: int = DEEPER
    outside: Outside = field(default_factory=Outside)

    @classmethod
    def of(
        cls, survey: Survey, ruling: Ruling, depth: int, metadata: MetadataLabels, partition: Partition
    ) -> "Placing":
        """Return the placing of all entries that were surveyed."""
        around = Around(survey.around, survey.around_in_splits, survey.around_files)
        signs, words = survey.signs or metadata.signs, survey.words_in_train if ruling.by_names_in_train else None
        return cls(around, ruling.rule, depth, metadata, partition, signs, partition.is_used, words)

    def __call__(self, entry: Entry) -> Cell:
        """Return the split and the class of an entry; a class of folders is a path that `settled` cuts."""
        named, folders = _from_names(self.around, entry.folder, entry.file if entry.at else "")
        if self.tabled:
            named = self._by_table(entry) or named
        split = entry.split or named.split
        return split, self._class(entry, split, folders)

    @property
    def without_deeper(self) -> "Placing | None":
        """The placing without folders below the class, which may be any number; None if there are none to drop."""
        drops = self.rule is LabelRule.FOLDER and self.depth and self.deeper
        return replace(self, deeper=0) if drops else None

    def named_split(self, entry: Entry) -> NamedSplit:
        """Return the split that a table or names give an entry, and the folder that names it."""
        named, _ = _from_names(self.around, entry.folder, entry.file if entry.at else "")
        return (self._by_table(entry) if self.tabled else None) or named

    def _by_table(self, entry: Entry) -> NamedSplit | None:
        """Rule 3: the split that a table gives; None if no table is around the image."""
        split = self.partition.split(entry.name)
        return None if split is None else NamedSplit(split, "", by_table=True)

    def _class(self, entry: Entry, split: str, folders: str) -> str:
        """Rule 4."""
        match self.rule:
            case LabelRule.FOLDER:
                return "/".join(folders.split("/")[: self.depth + self.deeper]) if self.depth else folders
            case LabelRule.OWN:
                return self._published(entry.label)
            case LabelRule.METADATA:
                label = self.metadata.label(entry.name, split)
                return self._of_folder(folders) if label is None else self._published(label)
            case LabelRule.FILE_NAME:
                word = class_word(entry.name)
                return word if self.words is None or word in self.words else ""
            case LabelRule.NONE:
                return ""

    def _of_folder(self, folders: str) -> str:
        """Rule 4b, for an image outside all folders that hold a metadata file."""
        label = class_at(folders, self.depth)
        if is_image_folder(label):
            self.outside.in_images = True
            return ""
        self.outside.has_classes = self.outside.has_classes or bool(label)
        return label

    def _published(self, label: str) -> str:
        return "" if _NO_CLASS.fullmatch(label) and not self.signs else label


@lru_cache(1024)
def _from_names(around: Around, folder: str, file: str) -> tuple[NamedSplit, str]:
    """The split and the class that names give to an image in a folder; `file` is empty unless it holds many images."""
    folders = path_parts(folder)[around.images :]
    *folders_around_file, name = file.split("/")
    named = _split_from_names(folders, folders_around_file[around.files :], name)
    if _split_of_outermost(folders):
        folders = folders[1 + around.in_splits :]
    return named, "/".join(folders)


def _split_from_names(folders: list[str], folders_around_file: list[str], file_name: str) -> NamedSplit:
    """Rule 3, for an image whose source names no split."""
    for around in (folders, folders_around_file):
        if split := _split_of_outermost(around):
            return NamedSplit(split, around[0])
    return NamedSplit(word_for_split(file_name), "")


def _split_of_outermost(folders: list[str]) -> str:
    return split_of_folder(folders[0]) if folders else ""
