"""Zip archives of images, read in place and never unpacked to disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter

from PIL import Image

from infra.errors import InputError
from infra.sources.decode import decode
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.beside import key_beside, table_beside
from infra.sources.formats.members import list_members, wants_text
from infra.sources.formats.zip_members import member_content, zip_members
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found


@dataclass(frozen=True)
class ZipSource:
    """Every image in every zip archive, in the order of its directory; nothing is ever unpacked to disk.

    Folders inside give split and class as they do for `FolderSource`. If they give no split, the archive's own folder
    does, or else a word of its name (train-000.zip). Members that share a name up to its first dot are one
    sample: 7.cls, 7.cls.txt or the `label` of 7.json is the class of 7.png. A dataset.json or metadata.csv names many;
    so do tables such as train.csv, also beside the archives.

    Attributes:
        files: The archives.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, reading only the directories and labels of the archives."""
        is_archive = partial(is_of_kind, "zip", self.files)
        for file in self.files.find():
            if not is_archive(file):
                yield table_beside(self.files, file, self.reading)
                continue
            path = self.files.path(file.name)
            with self.files.open(file) as opened:
                members = zip_members(opened, file.size, path, partial(wants_text, reading=self.reading))
                yield from list_members(file, members, path, self.reading, key_beside(self.files, file, is_archive))

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read the members; an archive is opened once for consecutive entries."""
        for (name, size, stamp), group in groupby(entries, attrgetter("file", "size", "stamp")):
            file = File(name=name, size=size, stamp=stamp)
            with self.files.open(file) as opened:
                for entry in group:
                    try:
                        yield member_content(opened, entry.at, entry.name)
                    except InputError as error:
                        yield error
            self.files.open(file).close()  # fails if the file changed meanwhile

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode one member."""
        return decode(content, entry.name, self.reading)
