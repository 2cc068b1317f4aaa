"""The messages of an Arrow file: the schema and where the columns of each record batch lie.

The headers are parsed by hand because Arrow reads the whole body of a message before it looks at a column, and takes
the memory that a compressed buffer claims. Here a listing reads the labels alone, and a unit one image at a time; every
place and size is held to the size of the file.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import BinaryIO, NamedTuple

from infra.errors import InputError
from infra.sources.decode import REPAIR

_MAGIC = b"ARROW1\0\0"
_TAIL = struct.Struct("<i6s")
_MAX_METADATA = 16 << 20
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
# Categories may be stated so many times for one column, or in so many pieces.
_MAX_PIECES = 1000
_CODECS = {0: "lz4", 1: "zstd"}
_BIG_ENDIAN = 1


class Span(NamedTuple):
    """A place in the file and a number of bytes from there."""

    place: int
    length: int


@dataclass(frozen=True)
class Batch:
    """A record batch, without its data.

    Attributes:
        place: The place of its message in the file.
        rows: The number of rows that it states.
        lengths: The lengths that its columns and their children state, in order.
        buffers: The places of its buffers, in order; they lie within the file.
        codec: The name of the compression of the buffers; empty if there is none.
        categories: The categories stated so far, by the numbers that the schema gives to its dictionaries.
    """

    place: int
    rows: int
    lengths: tuple[int, ...]
    buffers: tuple[Span, ...]
    codec: str
    categories: Mapping[int, "Categories"] = field(default_factory=dict)


@dataclass
class Categories:
    """The values that the numbers of a column of categories stand for.

    Attributes:
        pieces: The batches of one column that hold them, one after the other.
        values: The values, once a reader has unpacked them for all the batches that share them.
    """

    pieces: tuple[Batch, ...]
    values: object = None


class _Table:
    """A table of the FlatBuffers format."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, slot: int, form: str) -> int:
        """An integer of the table; 0 if it is left out."""
        at = self._at(slot)
        return int(struct.unpack_from(f"<{form}", self._data, at)[0]) if at else 0

    def table(self, slot: int) -> "_Table | None":
        at = self._at(slot)
        return _Table(self._data, at + self._offset(at)) if at else None

    def tables(self, slot: int) -> "Iterator[_Table]":
        """A vector of tables."""
        if at := self._at(slot):
            start = at + self._offset(at)
            count = self._offset(start)
            if count * 4 > len(self._data):
                raise ValueError("a vector is longer than its message")
            for place in range(start + 4, start + 4 + 4 * count, 4):
                yield _Table(self._data, place + self._offset(place))

    def pairs(self, slot: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two 64-bit integers."""
        if at := self._at(slot):
            start = at + self._offset(at)
            count = self._offset(start)
            if count * 16 > len(self._data):
                raise ValueError("a vector is longer than its message")
            for number in range(count):
                yield struct.unpack_from("<2q", self._data, start + 4 + 16 * number)

    def _at(self, slot: int) -> int:
        vtable = self._place - struct.unpack_from("<i", self._data, self._place)[0]
        size = struct.unpack_from("<H", self._data, vtable)[0]
        inside = 4 + 2 * slot
        offset = struct.unpack_from("<H", self._data, vtable + inside)[0] if inside + 2 <= size else 0
        return self._place + offset if offset else 0

    def _offset(self, at: int) -> int:
        return int(struct.unpack_from("<I", self._data, at)[0])


class ArrowMessages:
    """The messages of a file in Arrow's stream or file format.

    Args:
        opened: The file.
        size: Its bytes.
        path: For error lines.
    """

    def __init__(self, opened: BinaryIO, size: int, path: str) -> None:
        self._opened, self._path = opened, path
        opened.seek(0)
        is_file = opened.read(len(_MAGIC)) == _MAGIC
        self._start, self._end = (len(_MAGIC), self._footer(size)) if is_file else (0, size)

    def schema(self) -> bytes:
        """Return the message of the schema, as it stands.

        Raises:
            InputError: If the file does not begin with one that this version knows.
        """
        metadata, _ = self._metadata(self._start)
        try:
            message = _Table.root(metadata)
            header = message.table(2)
            known = message.number(1, "B") == _SCHEMA and header and header.number(0, "h") != _BIG_ENDIAN
        except (struct.error, ValueError):
            known = False
        if not known:
            raise self._fault("does not begin with an Arrow schema in little-endian order", self._start)
        return struct.pack("<2i", -1, len(metadata)) + metadata

    @cached_property
    def dictionaries(self) -> tuple[int, ...]:
        """The number of the dictionary of each column; -1 if it is no column of categories.

        Raises:
            InputError: If the schema is damaged.
        """
        try:
            schema = _Table.root(self._metadata(self._start)[0]).table(2)
            encodings = [column.table(4) for column in schema.tables(1)] if schema else []
            return tuple(encoding.number(0, "q") if encoding else -1 for encoding in encodings)
        except (struct.error, ValueError) as error:
            raise self._fault("has a damaged schema", self._start) from error

    def batches(self) -> Iterator[Batch]:
        """Find every record batch."""
        place, categories = self._start, dict[int, Categories]()
        while place < self._end:
            metadata, body = self._metadata(place)
            if not metadata:
                return
            kind, batch, length = self._parsed(place, metadata, body)
            if batch is not None and kind == _BATCH:
                yield replace(batch, categories=dict(categories)) if categories else batch
            elif batch is not None:
                self._add(categories, place, metadata, batch)
            place = body + length

    def batch(self, place: int) -> Batch:
        """Return the record batch whose message is at a place, without categories."""
        kind, found, _ = self._parsed(place, *self._metadata(place))
        if found is None or kind != _BATCH:
            raise self._fault("has no record batch where one was found", place)
        return found

    def _add(self, categories: dict[int, Categories], place: int, metadata: bytes, batch: Batch) -> None:
        """Add the categories of a message, which follow those before or take their place."""
        try:
            header = _Table.root(metadata).table(2)
            assert header is not None
            number, is_more = header.number(0, "q"), header.number(2, "b")
        except (struct.error, ValueError) as error:
            raise self._fault("has a damaged message", place) from error
        before = categories[number].pieces if is_more and number in categories else ()
        if len(before) >= _MAX_PIECES or len(categories) > _MAX_PIECES:
            raise self._fault(f"states categories in more than {_MAX_PIECES} pieces", place)
        categories[number] = Categories((*before, batch))

    def _parsed(self, place: int, metadata: bytes, body: int) -> tuple[int, Batch | None, int]:
        """The type of a message, its batch if it has one, and the length of its body."""
        try:
            message = _Table.root(metadata)
            kind, header, length = message.number(1, "B"), message.table(2), message.number(3, "q")
            if not 0 <= length <= self._end - body:
                raise self._fault(f"has a message of {length} bytes, cut short", place)
            if kind == _DICTIONARY and header is not None:
                header = header.table(1)
            if kind not in (_DICTIONARY, _BATCH) or header is None:
                return kind, None, length
            buffers = tuple(Span(body + offset, size) for offset, size in header.pairs(2))
            if any(span.place < body or not 0 <= span.length <= body + length - span.place for span in buffers):
                raise self._fault("has a buffer outside its message", place)
            compression = header.table(3)
            codec = _CODECS[compression.number(0, "b")] if compression else ""
            lengths = tuple(count for count, _ in header.pairs(1))
            return kind, Batch(place, header.number(0, "q"), lengths, buffers, codec), length
        except (struct.error, ValueError, KeyError) as error:
            raise self._fault("has a damaged message", place) from error

    def _metadata(self, place: int) -> tuple[bytes, int]:
        """The header of the message at a place, empty at the end of the stream, and the place of its body."""
        self._opened.seek(place)
        length, after = int.from_bytes(self._opened.read(4), "little", signed=True), place + 4
        if length == -1:  # since Arrow 0.15
            length, after = int.from_bytes(self._opened.read(4), "little", signed=True), place + 8
        if not 0 <= length <= min(_MAX_METADATA, self._end - after):
            raise self._fault("is not an Arrow file, or cut short", place)
        return self._opened.read(length), after + length

    def _footer(self, size: int) -> int:
        self._opened.seek(max(size - _TAIL.size, 0))
        tail = self._opened.read(_TAIL.size)
        length, magic = _TAIL.unpack(tail) if len(tail) == _TAIL.size else (0, b"")
        if magic != _MAGIC[:6] or not 0 <= length <= size - _TAIL.size - len(_MAGIC):
            raise self._fault("has no footer of an Arrow file; it may be cut short", size)
        return size - _TAIL.size - length

    def _fault(self, cause: str, place: int) -> InputError:
        return InputError(cause, item=f"{self._path} at byte {place}", remedy=REPAIR)
