"""The beginning of a file: its first bytes, unpacked if they are packed, and the first names in an archive."""

import bz2
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import islice

from infra.errors import InputError
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.tar_members import tar_members
from infra.sources.formats.tar_stream import BZIP2, GZIP, TarStream
from infra.sources.formats.zip_members import ZIP_MARKS, zip_members

_HEAD_BYTES = 8 << 10
# Bounds what a few kilobytes may unpack to.
_UNPACKED_BYTES = 64 << 10
_MEMBERS = 64
_ANY_SIZE = 1 << 62


@dataclass(frozen=True)
class Head:
    """The beginning of a file.

    Attributes:
        name: The file's name.
        size: Its bytes in all.
        data: Its first bytes.
        zip_names: The first names in it, if it is a zip archive.
    """

    name: str
    size: int
    data: bytes
    zip_names: tuple[str, ...] = ()

    @cached_property
    def unpacked(self) -> bytes:
        """The first bytes after gzip or bzip2 if they are packed, else the first bytes."""
        with suppress(zlib.error, OSError, EOFError, ValueError):
            if self.data.startswith(GZIP):
                return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(self.data, _UNPACKED_BYTES)
            if BZIP2.match(self.data):
                return bz2.BZ2Decompressor().decompress(self.data, _UNPACKED_BYTES)
            return self.data
        return b""

    @cached_property
    def tar_names(self) -> tuple[str, ...]:
        """The names in it as far as the first bytes reach, if it is a tar archive."""
        names: list[str] = []
        # The bytes end within the archive, so an error ends the walk.
        with suppress(InputError):
            stream = TarStream(BytesIO(self.unpacked), _ANY_SIZE, self.name)
            for _, member in tar_members(stream, lambda _name, _size: False):
                names.append(_text(member.name))
        return tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The first names in it, if it is an archive."""
        return self.zip_names or self.tar_names


def read_head(files: FileSet, file: File) -> Head:
    """Read the beginning of a file, and of a zip archive the beginning of its directory.

    Raises:
        InputError: If it cannot be read.
        IntegrityError: If it changed since it was found.
    """
    data = files.read(file, 0, min(file.size, _HEAD_BYTES))
    names: tuple[str, ...] = ()
    if data.startswith(ZIP_MARKS):
        # A damaged directory is reported by the source itself.
        with suppress(InputError), files.open(file) as opened:
            members = zip_members(opened, file.size, files.path(file.name), lambda _name, _size: False)
            names = tuple(_text(member.name) for member in islice(members, _MEMBERS))
    return Head(file.name, file.size, data, names)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
