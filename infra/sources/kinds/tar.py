"""Tar archives of images, compressed or not, read where they are and never unpacked to disk.

The reader is our own because Python's tarfile trusts the archive. It loads an extended header whole, whatever size it
claims; it takes a damaged header for the end, so an archive that was cut short looks complete; and it keeps a record
of every member, which ten million of them would fill the memory with. Here headers are read one by one, every size is
bounded, and an archive has to end as the format says.
"""

import bz2
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import BinaryIO, TypeVar

from PIL import Image

from infra.errors import InputError
from infra.sources.decode import decode
from infra.sources.files.file_set import MAX_BYTES, File, FileSet
from infra.sources.formats.members import MAX_LABEL_BYTES, REPACK, Member, list_members, may_label
from infra.sources.source import Content, Entry, Other

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2")
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_STEP = 1 << 20
# An archive that unpacks beyond both is not a set of images.
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 1000
_MAX_EXTENDED_BYTES = 1 << 20
_REGULAR = frozenset(b"0\x007")
_NO_DATA = frozenset(b"123456")
_FOLDER, _SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS = b"5SLKxgX"
_ABOUT_NEXT = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS))
_OCTAL = re.compile(rb"\s*([0-7]*)\s*")
_Result = TypeVar("_Result")
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


@dataclass(frozen=True)
class TarSource:
    """Every image in every .tar, .tar.gz, .tgz and .tar.bz2 file, in the order of the archive.

    Folders inside give split and class as they do for `FolderSource`. If they give no split, the archive's own folder
    does, or else a word of its name (train-000.tar). Members that share a name up to its first dot are one
    sample, as in WebDataset: 7.cls, 7.cls.txt or the `label` of 7.json is the class of 7.png. Links, devices,
    pipes and sparse files are named and left out.

    An archive has to end with a block of zeros and nothing else after it. An archive that was cut short is refused,
    wherever it was cut, unless only padding is missing.

    Attributes:
        files: The archives.
    """

    files: FileSet

    def find(self) -> Iterator[Entry | Other]:
        """Find every image in one pass over the headers, decompressing on the way."""
        for file in self.files.find():
            if not file.name.lower().endswith(_SUFFIXES):
                yield Other(file.name)
                continue
            path = self.files.path(file.name)
            with self.files.open(file) as opened:
                members = tar_members(TarStream(opened, file.size, path), _is_label)
                yield from list_members(file, (member for _, member in members), path)

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
        return decode(content, entry.name)


class TarStream:
    """The decompressed bytes of an archive, read forwards.

    Args:
        opened: The archive; the end of its path says how it is compressed.
        size: Its bytes as stored.
        path: For error lines.
        remedy: For error lines.
        limit: The most bytes that it may unpack to, if there is a limit.
    """

    def __init__(
        self, opened: BinaryIO, size: int, path: str, *, remedy: str = REPACK, limit: int | None = None
    ) -> None:
        self._raw, self._size, self._path, self._remedy, self._limit = opened, size, path, remedy, limit
        self._data: BinaryIO | gzip.GzipFile | bz2.BZ2File = opened
        if path.lower().endswith((".gz", ".tgz")):
            self._data = gzip.GzipFile(fileobj=opened)
        elif path.lower().endswith(".bz2"):
            self._data = bz2.BZ2File(opened)
        self.place = 0

    def read(self, length: int) -> bytes:
        """Return the next bytes, exactly so many."""
        data = self._read(length)
        if len(data) < length:
            raise self.fault("ends too soon; it may be cut short")
        return data

    def skip_to(self, place: int) -> None:
        """Go forwards to a place, counted in decompressed bytes."""
        if self._limit is not None and place > self._limit:
            cause = f"unpacks to more than {self._limit >> 20} MiB"
            raise InputError(cause, item=self._path, remedy=self._remedy)
        if self._data is self._raw:
            if place > self._size:
                raise self.fault("ends too soon; it may be cut short")
            self._raw.seek(place)
            self.place = place
        while self.place < place:
            reached = self._try(self._data.seek, min(place, self.place + _STEP))
            if reached == self.place:
                raise self.fault("ends too soon; it may be cut short")
            self._advance(reached)

    def finish(self) -> None:
        """Make sure that only zeros follow."""
        while rest := self._read(_STEP):
            if rest.count(0) < len(rest):
                raise self.fault("goes on after its end")

    def fault(self, cause: str) -> InputError:
        """Return the error that names this place."""
        return InputError(cause, item=f"{self._path} at byte {self.place}", remedy=self._remedy)

    def _read(self, length: int) -> bytes:
        data = self._try(self._data.read, length)
        self._advance(self.place + len(data))
        return data

    def _advance(self, place: int) -> None:
        self.place = place
        if place > _BOMB_BYTES and self._data is not self._raw and place > _BOMB_RATIO * self._raw.tell():
            raise InputError(f"is a bomb: over {_BOMB_RATIO} times its size", item=self._path, remedy="remove it")

    def _try(self, act: Callable[[int], _Result], value: int) -> _Result:
        try:
            return act(value)
        except (OSError, EOFError, zlib.error) as error:
            raise self.fault(f"cannot be read ({error})") from error


def tar_members(stream: TarStream, wants: Callable[[bytes, int], bool]) -> Iterator[tuple[int, Member]]:
    """Read the members of a tar archive, without folders; nothing is extracted and no link is followed.

    Args:
        stream: The archive, from its beginning.
        wants: By name and size, whether a file's content is read along with its header.

    Yields:
        The number of the member's header, counting all headers from 1, and the member.

    Raises:
        InputError: If the archive is damaged or cut short.
    """
    extended: dict[bytes, bytes] = {}
    for number, block in enumerate(_blocks(stream), start=1):
        name, size, kind = _header(block, stream)
        if kind in _ABOUT_NEXT:
            extended.update(_extended(kind, size, stream))
            continue
        if kind == _SPARSE:
            _skip_map(block, stream)
        size = _decimal(extended[b"size"], stream) if b"size" in extended else size
        name = extended.get(b"GNU.sparse.name") or extended.get(b"path") or name
        is_sparse = any(key.startswith(b"GNU.sparse") for key in extended)
        is_file, text = kind in _REGULAR and not is_sparse, None
        start, end = stream.place, stream.place + (0 if kind in _NO_DATA else _padded(size))
        if is_file and wants(name, size):
            text = stream.read(size)
        stream.skip_to(end)
        # Before there was a kind for folders, their names ended in a slash.
        if kind != _FOLDER and not (kind == 0 and name.endswith(b"/")):
            yield number, Member(name, (start, size), is_file=is_file, text=text)
        extended = {}
    if extended:
        raise stream.fault("ends after an extended header")
    stream.finish()


def _is_label(name: bytes, size: int) -> bool:
    return size <= MAX_LABEL_BYTES and may_label(name)


def _blocks(stream: TarStream) -> Iterator[bytes]:
    """Every header block up to the end of the archive; the content after each is for the caller to read or skip."""
    while (block := stream.read(_BLOCK)) != _ZEROS:
        yield block


def _extended(kind: int, size: int, stream: TarStream) -> dict[bytes, bytes]:
    """The fields of a header that describes the next member."""
    if size > _MAX_EXTENDED_BYTES:
        raise stream.fault(f"has an extended header of {size} bytes")
    data = stream.read(_padded(size))[:size]
    if kind == _LONG_NAME:
        return {b"path": data.split(b"\0", 1)[0]}
    return _pax(data, stream) if kind in (_PAX, _PAX_SOLARIS) else {}


def _skip_map(block: bytes, stream: TarStream) -> None:
    """Skip the rest of a sparse member's map; a byte in each block says whether another follows."""
    more = block[482]
    while more:
        more = stream.read(_BLOCK)[504]


def _header(block: bytes, stream: TarStream) -> tuple[bytes, int, int]:
    """Name, size and kind of the content that follows."""
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _number(block[148:156]) != checksum:
        raise stream.fault("has no tar header where one has to be")
    size = _number(block[124:136])
    if size is None:
        raise stream.fault("has a tar header with a bad size")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name, size, block[156]


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:  # too large for octal digits
        return int.from_bytes(field[1:], "big")
    digits = _OCTAL.fullmatch(field.split(b"\0", 1)[0])
    return int(digits[1] or b"0", 8) if digits else None


def _pax(data: bytes, stream: TarStream) -> dict[bytes, bytes]:
    """The records of an extended header; each is its own length, a key and a value."""
    found, place = {}, 0
    while place < len(data):
        match = _PAX_RECORD.match(data, place)
        end = place + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise stream.fault("has a damaged extended header")
        found[match[2]] = data[match.end() : end - 1]
        place = end
    return found


def _decimal(digits: bytes, stream: TarStream) -> int:
    if not re.fullmatch(rb"\d{1,18}", digits):
        raise stream.fault("has an extended header with a bad size")
    return int(digits)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
