"""The pages of an LMDB database: where each value lies in the file, in the order of the keys.

The reader is our own because the library maps the file into memory, locks it and trusts it: a damaged page ends the
process, and an object on S3 cannot be mapped. Here a listing walks the tree page by page within bounds, and a value is
one run of bytes that a unit reads directly.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from infra.errors import InputError
from infra.sources.image_formats import SIGNATURE_BYTES

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<QHHHH")
_META = struct.Struct("<2I2Q")
_DATABASE = struct.Struct("<I2H5Q")
_NODE = struct.Struct("<4H")
_BRANCH, _LEAF, _META_FLAG = 0x01, 0x02, 0x08
_BIG, _SUB, _DUPLICATES = 0x01, 0x02, 0x04
_NO_ROOT = (1 << 64) - 1
_PAGE_SIZES = [1 << power for power in range(8, 17)]
_MAX_DEPTH = 32
_COPY = "copy it anew with mdb_copy, or export its images to files"


class Value(NamedTuple):
    """A value of the database.

    Attributes:
        key: Its key.
        place: Its place in the file.
        length: Its number of bytes.
        start: Its first bytes if it lies in the page of its key, as small values do; else empty.
    """

    key: bytes
    place: int
    length: int
    start: bytes


def lmdb_values(opened: BinaryIO, size: int, path: str) -> Iterator[Value]:
    """Find every value of the unnamed database of a data.mdb.

    Args:
        opened: The file.
        size: Its bytes.
        path: For error lines.

    Raises:
        InputError: If it is not such a file, is damaged, or was cut short.
    """
    page_size, root = _newest(opened, path)
    if root != _NO_ROOT:
        yield from _Tree(opened, size, page_size, path).values(root, 1)


def _newest(opened: BinaryIO, path: str) -> tuple[int, int]:
    """The size of a page and the root of the newer of the two states that a file keeps."""
    found: list[tuple[int, int, int]] = []
    for place in (0, *_PAGE_SIZES):
        opened.seek(place)
        data = opened.read(_HEADER.size + _META.size + 2 * _DATABASE.size + 16)
        if len(data) < _HEADER.size + _META.size + 2 * _DATABASE.size + 16:
            break
        flags = _HEADER.unpack_from(data)[2]
        magic, version, _, _ = _META.unpack_from(data, _HEADER.size)
        if (magic, version) != (_MAGIC, _VERSION) or not flags & _META_FLAG:
            continue
        free = _DATABASE.unpack_from(data, _HEADER.size + _META.size)
        main = _DATABASE.unpack_from(data, _HEADER.size + _META.size + _DATABASE.size)
        transaction = struct.unpack_from("<Q", data, _HEADER.size + _META.size + 2 * _DATABASE.size + 8)[0]
        if free[0] in _PAGE_SIZES and place in (0, free[0]):
            found.append((transaction, free[0], main[-1]))
    if not found:
        raise InputError("is not the data.mdb of an LMDB database", item=path, remedy=_COPY)
    _, page_size, root = max(found)
    return page_size, root


class _Tree:
    """The B+ tree of a database; every page is visited once at most."""

    def __init__(self, opened: BinaryIO, size: int, page_size: int, path: str) -> None:
        self._opened, self._size, self._page_size, self._path = opened, size, page_size, path
        self._left = size // page_size

    def values(self, number: int, depth: int) -> Iterator[Value]:
        """Find the values below a page."""
        self._left -= 1
        start = number * self._page_size
        if start + self._page_size > self._size:
            raise self._fault("ends too soon; it may be cut short", number)
        if depth > _MAX_DEPTH or self._left < 0:
            raise self._fault("has pages that lead in a circle", number)
        self._opened.seek(start)
        page = self._opened.read(self._page_size)
        stated, _, flags, lower, _ = _HEADER.unpack_from(page)
        if stated != number or not flags & (_BRANCH | _LEAF) or not _HEADER.size <= lower <= self._page_size:
            raise self._fault("has a damaged page", number)
        for at in struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size):
            if at + _NODE.size > self._page_size:
                raise self._fault("has a damaged page", number)
            low, high, node_flags, key_size = _NODE.unpack_from(page, at)
            if flags & _BRANCH:
                yield from self.values(low | high << 16 | node_flags << 32, depth + 1)
            else:
                key = page[at + _NODE.size : at + _NODE.size + key_size]
                place, length = at + _NODE.size + key_size, low | high << 16
                inline = page[place : place + min(length, SIGNATURE_BYTES) if not node_flags & _BIG else place + 8]
                yield self._value(number, key, node_flags, inline, start + place, length)

    def _value(self, number: int, key: bytes, flags: int, inline: bytes, place: int, length: int) -> Value:
        if flags & (_SUB | _DUPLICATES):
            cause = "holds databases in the database, or several values of a key"
            raise InputError(cause, item=self._path, remedy="export its images to files")
        if flags & _BIG:
            if len(inline) < 8:
                raise self._fault("has a damaged page", number)
            place, inline = struct.unpack("<Q", inline)[0] * self._page_size + _HEADER.size, b""
        if place + length > self._size:
            raise self._fault("ends too soon; it may be cut short", number)
        return Value(key, place, length, inline)

    def _fault(self, cause: str, number: int) -> InputError:
        return InputError(cause, item=f"{self._path} at page {number}", remedy=_COPY)
