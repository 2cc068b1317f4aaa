"""Tar archives of images, compressed or not, read in place and never unpacked to disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter

from PIL import Image

from infra.errors import InputError
from infra.sources.decode import decode
from infra.sources.files.file import MAX_BYTES, File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.beside import key_beside, table_beside
from infra.sources.formats.members import list_members, wants_text
from infra.sources.formats.tar_members import tar_members
from infra.sources.formats.tar_stream import TarStream
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found


@dataclass(frozen=True)
class TarSource:
    """Every image in every tar archive, compressed by gzip or bzip2 or not, in the order of the archive.

    Folders inside give split and class as they do for `FolderSource`. If they give no split, the archive's own folder
    does, or else a word of its name (train-000.tar). Members that share a name up to its first dot are one
    sample, as in WebDataset: 7.cls, 7.cls.txt or the `label` of 7.json is the class of 7.png. A dataset.json or
    metadata.csv names many; so do tables such as train.csv, also beside the archives. Links, devices, pipes and
    sparse files are named and left out. A plain tar archive inside is a folder of its name: ImageNet's n01440764.tar.

    An archive has to end with a block of zeros and nothing else after it. An archive that was cut short is refused,
    wherever it was cut, unless only padding is missing.

    Attributes:
        files: The archives.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image in one pass over the headers, decompressing on the way."""
        is_archive = partial(is_of_kind, "tar", self.files)
        for file in self.files.find():
            if not is_archive(file):
                yield table_beside(self.files, file, self.reading)
                continue
            path = self.files.path(file.name)
            with self.files.open(file) as opened:
                stream = TarStream(opened, file.size, path)
                members = tar_members(stream, partial(wants_text, reading=self.reading), nested=True)
                key = key_beside(self.files, file, is_archive)
                yield from list_members(file, (member for _, member in members), path, self.reading, key)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read the members, each archive once from front to back.

        Each call decompresses a compressed archive from its beginning, thus once per unit. Many small archives, or
        plain ones, are read much faster than a large compressed one.
        """
        for (name, size, stamp), group in groupby(entries, attrgetter("file", "size", "stamp")):
            file = File(name=name, size=size, stamp=stamp)
            with self.files.open(file) as opened:
                stream = TarStream(opened, size, self.files.path(name))
                for entry in group:
                    start, length = entry.at
                    if length > MAX_BYTES:
                        yield InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=entry.name, remedy="remove it")
                        continue
                    stream.skip_to(start)
                    yield stream.read(length)
            self.files.open(file).close()  # fails if the file changed meanwhile

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode one member."""
        return decode(content, entry.name, self.reading)
