"""Folders of PNG, JPEG and WebP files, in classes or not, split or not, local or on S3."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image

from infra.files import File, FileSet
from infra.sources.decode import SUFFIXES, decode
from infra.sources.source import Content, Entry, Other

_SPLITS = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
_SPLIT_NAME = re.compile(r"(train|test|val)(ing|id|idation)?(set)?(?![a-z])")


@dataclass(frozen=True)
class FolderSource:
    """Every image file of some folders, hidden ones left out.

    Folders `train` and `test` (or `val`) at the top give the split. The folder below the split is the class.

    Attributes:
        files: Where.
    """

    files: FileSet

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of their names."""
        for file in self.files.find():
            if PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
                yield Other(file.name)
                continue
            split, label = place(file.name)
            yield Entry(name=file.name, file=file.name, size=file.size, stamp=file.stamp, split=split, label=label)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read the files."""
        return self.files.read_all(File(name=entry.file, size=entry.size, stamp=entry.stamp) for entry in entries)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode one file."""
        return decode(content, self.files.path(entry.file))


def place(name: str) -> tuple[str, str]:
    """The split and the class that the folders of a relative path give; empty where they give none."""
    folders = name.split("/")[:-1]
    split = _SPLITS.get(folders[0].lower(), "") if folders else ""
    return split, "/".join(folders[1:] if split else folders)


def place_of_file(name: str) -> tuple[str, str]:
    """The same of a file that holds many images; its own name may give the split too: train-000.tar, test.npy."""
    split, label = place(name)
    begins = _SPLIT_NAME.match(name.rsplit("/", 1)[-1].lower())
    return split or (_SPLITS[begins[1]] if begins else ""), label
