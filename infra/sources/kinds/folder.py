"""Folders of image files, in classes or not, split or not, local or on S3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import splitext

from PIL import Image

from infra.sources.decode import decode
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.beside import file_beside
from infra.sources.image_formats import SUFFIXES
from infra.sources.keys import PLAIN, NameKeys
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Found, Other


@dataclass(frozen=True)
class FolderSource:
    """Every image file of some folders, without hidden files.

    Folders named like `train` and `test` give the split, or a table does. The class comes from a file of labels such as
    metadata.csv, from the folders, or from the names of the files (`infra.sources.listing.placing`).

    Attributes:
        files: The images.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, in the order of their names."""
        keys = NameKeys(self.reading.image_key)
        for file in self.files.find():
            stem, suffix = splitext(file.name)
            if suffix.lower() not in SUFFIXES:
                yield file_beside(self.files, file, self.reading)
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
