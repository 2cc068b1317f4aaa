"""Folders of image files, in classes or not, split or not, local or on S3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import splitext

from PIL import Image

from infra.sources.decode import decode
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.image_formats import SUFFIXES
from infra.sources.keys import PLAIN, NameKeys
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Other


@dataclass(frozen=True)
class FolderSource:
    """Every image file of some folders, without hidden files.

    Folders named like `train` and `test` give the split. The folders below them are the class.

    Attributes:
        files: The images.
        reading: What the user chose of how they are read.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of their names."""
        keys = NameKeys(self.reading.image_key)
        for file in self.files.find():
            stem, suffix = splitext(file.name)
            if suffix.lower() not in SUFFIXES:
                yield Other(file.name)
                continue
            key, folder = keys.of(stem, suffix), file.name.rpartition("/")[0]
            if keys.takes(key):
                yield Entry(
                    name=file.name, file=file.name, size=file.size, stamp=file.stamp, folder=folder, key=keys.waits(key)
                )
            else:
                yield Other(file.name, key=key or PLAIN)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read the files."""
        return self.files.read_all(File(name=entry.file, size=entry.size, stamp=entry.stamp) for entry in entries)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode one file."""
        return decode(content, self.files.path(entry.file), self.reading)
