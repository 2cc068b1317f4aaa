"""LMDB databases of encoded images, such as those of LSUN."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from infra.errors import InputError
from infra.sources.decode import decode
from infra.sources.files.file import MAX_BYTES, File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.lmdb_pages import Value, lmdb_values
from infra.sources.formats.members import printable
from infra.sources.image_formats import begins_like_image
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Other

_LOCK = "lock.mdb"


@dataclass(frozen=True)
class LmdbSource:
    """Every data.mdb with encoded images as values, in the order of the keys.

    The folders around it give split and class. Small values that do not begin like an image, such as a count of the
    images, are left out.

    Attributes:
        files: The databases.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, reading only the pages of the tree."""
        for file in self.files.find():
            own = file.name.rpartition("/")[2].lower()
            if own == _LOCK:
                continue
            if is_of_kind("lmdb", self.files, file):
                yield from self._find(file)
            else:
                yield Other(file.name)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read the values; a database is opened once for consecutive entries."""
        for (name, size, stamp), group in groupby(entries, key=lambda entry: (entry.file, entry.size, entry.stamp)):
            file = File(name=name, size=size, stamp=stamp)
            with self.files.open(file) as opened:
                for place, length in (entry.at for entry in group):
                    opened.seek(place)
                    yield opened.read(length)
            self.files.open(file).close()  # fails if the file changed meanwhile

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode one value."""
        return decode(content, entry.name, self.reading)

    def _find(self, file: File) -> Iterator[Entry | Other]:
        path = self.files.path(file.name)
        with self.files.open(file) as opened:
            for value in lmdb_values(opened, file.size, path):
                name = f"{file.name}!{printable(value.key.decode('utf-8', 'backslashreplace'))}"
                if value.length > MAX_BYTES:
                    raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=name, remedy="remove it")
                is_image = not value.start or begins_like_image(value.start)
                yield _entry(file, value, name) if is_image and value.length else Other(name)


def _entry(file: File, value: Value, name: str) -> Entry:
    return Entry(
        name=name,
        file=file.name,
        size=file.size,
        stamp=file.stamp,
        at=(value.place, value.length),
        folder=file.name.rpartition("/")[0],
    )
