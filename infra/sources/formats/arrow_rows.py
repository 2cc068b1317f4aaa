"""The rows of an Arrow file: labels and stored images, straight from the buffers of its record batches."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.errors import DdpmError, InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES
from infra.sources.formats.arrow_messages import ArrowMessages, Batch, Span
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import Columns, label_text
from infra.sources.source import Content

# A compressed buffer may unpack to so much, or to so many times its size, and never to more than the last.
_MAX_UNPACKED, _MAX_RATIO, _MAX_BUFFER = 64 << 20, 64, 1 << 30
_UNCOMPRESSED = -1
_SAVE_PLAIN = "save it without compression"


def arrow_schema(messages: ArrowMessages, path: str) -> pa.Schema:
    """Return the schema of a file.

    Raises:
        InputError: If Arrow cannot read it.
    """
    data = messages.schema()
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        schema.names, str(schema)  # fail if a name is not UTF-8
        return schema
    except Exception as error:  # types that Ray added to Arrow raise whatever a hostile schema leads to
        raise InputError(f"cannot be read as Arrow ({str(error)[:200]})", item=path, remedy=REPAIR) from error


class ArrowRows:
    """The rows of one record batch.

    Args:
        opened: The file.
        schema: Its schema.
        batch: The record batch.
        path: For error lines.
    """

    def __init__(self, opened: BinaryIO, schema: pa.Schema, batch: Batch, path: str) -> None:
        self._opened, self._schema, self._batch, self._path = opened, schema, batch, path

    def labels(
        self, columns: Columns, values: LabelValues, dictionaries: Sequence[int], *, signed: bool = False
    ) -> Iterator[str]:
        """Return the label of each row; empty if there is none.

        Args:
            columns: The columns of the file.
            values: Turns values into classes, and notices if they are none.
            dictionaries: The number of the dictionary of each column of categories.
            signed: Whether a negative number is a label.
        """
        if not columns.label:
            yield from repeat("", self._checked_rows(columns))
            return
        number = self._schema.get_field_index(columns.label)
        kind = self._schema.field(number).type
        buffer, length = self._start(number)
        try:
            if pa.types.is_dictionary(kind):
                numbers, *_ = self._array(kind.index_type, buffer, length)
                array = pa.DictionaryArray.from_arrays(numbers, self._values(kind, dictionaries[number]))
            else:
                array, *_ = self._array(kind, buffer, length)
            array.validate(full=True)
            if len(array) != self._checked_rows(columns):
                raise ValueError(f"{len(array)} labels")
        except DdpmError:
            raise
        except Exception as error:  # as for the schema
            fault = self._fault(f"has damaged labels ({str(error)[:200]})")
            fault.remedy = f"{REPAIR}, or set {Term.LABELS}=none to train without classes"
            raise fault from error
        for scalar in array:
            yield label_text(scalar, columns, self._path, values, signed=signed)

    def _values(self, kind: pa.DataType, dictionary: int) -> pa.Array:
        """The values that the numbers of a column of categories stand for."""
        if (categories := self._batch.categories.get(dictionary)) is None:
            raise ValueError("their categories are missing")
        if not isinstance(categories.values, pa.Array):
            pieces = [ArrowRows(self._opened, self._schema, piece, self._path) for piece in categories.pieces]
            values = pa.concat_arrays([piece._array(kind.value_type, 0, 0)[0] for piece in pieces])
            values.validate(full=True)
            categories.values = values
        return categories.values

    def images(self, columns: Columns, rows: list[int]) -> Iterator[Content]:
        """Return the stored bytes of the images in some rows, or the reason why a row has none."""
        validities, kind, buffer = self._leaf(columns)
        valid = np.ones(self._checked_rows(columns), dtype=bool)
        for span in (span for span in validities if span.length):
            bits = np.unpackbits(np.frombuffer(self._whole(span), dtype=np.uint8), bitorder="little")[: len(valid)]
            if len(bits) < len(valid):
                raise self._fault("has a bitmap that is too short")
            valid &= bits.astype(bool)
        ends = self._ends(kind, buffer, len(valid))
        values = self._batch.buffers[buffer if pa.types.is_fixed_size_binary(kind) else buffer + 1]
        data = self._whole(values) if self._batch.codec else None
        for row in rows:
            item = f"{self._path}[{self._batch.place},{row}]"
            if not valid[row]:
                yield InputError("has no bytes, and files elsewhere are not followed", item=item, remedy="embed them")
                continue
            first, last = int(ends[row]), int(ends[row + 1])
            if not 0 <= first <= last <= (values.length if data is None else len(data)):
                raise self._fault("has an image outside its buffer")
            if last - first > MAX_BYTES:
                yield InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=item, remedy="remove the row")
            else:
                yield self._exactly(values.place + first, last - first) if data is None else data[first:last]

    def _checked_rows(self, columns: Columns) -> int:
        """The number of rows, which the buffer of the images has to have room for."""
        _, kind, buffer = self._leaf(columns)
        span, rows = self._batch.buffers[buffer], self._batch.rows
        fixed = pa.types.is_fixed_size_binary(kind)
        width = kind.byte_width if fixed else 8 if pa.types.is_large_binary(kind) else 4
        room = self._unpacked(span) if self._batch.codec else span.length
        if not 0 <= rows <= room or (rows and width * (rows + (not fixed)) > room):
            raise self._fault(f"says it holds {rows} rows in {span.length} bytes")
        return rows

    def _leaf(self, columns: Columns) -> tuple[list[Span], pa.DataType, int]:
        """The bitmaps that say which images are there, the type of the images, and the number of their first buffer."""
        is_struct = columns.leaf not in self._schema.names
        number = self._schema.get_field_index(columns.leaf.removesuffix(".bytes") if is_struct else columns.leaf)
        kind = self._schema.field(number).type
        buffer, _ = self._start(number)
        bitmaps = [buffer]
        if is_struct:
            place = kind.get_field_index("bytes")
            buffer += 1 + sum(self._counts(kind.field(n).type)[0] for n in range(place))
            kind = kind.field(place).type
            bitmaps.append(buffer)
        if buffer + self._counts(kind)[0] > len(self._batch.buffers):
            raise self._fault("has too few buffers")
        return [self._batch.buffers[n] for n in bitmaps], kind, buffer + 1

    def _start(self, column: int) -> tuple[int, int]:
        """The numbers of the first buffer and the first length of a column."""
        counts = [self._counts(self._schema.field(n).type) for n in range(column)]
        return sum(buffers for buffers, _ in counts), sum(lengths for _, lengths in counts)

    def _counts(self, kind: pa.DataType) -> tuple[int, int]:
        """The numbers of buffers and of lengths that a column of a type has."""
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        if pa.types.is_union(kind) or str(kind).endswith("_view") or "run_end_encoded" in str(kind):
            cause = f"has a column of the type {str(kind)[:80]} before the images"
            raise InputError(cause, item=self._path, remedy="save it without that column")
        if pa.types.is_null(kind):
            return 0, 1
        children = [] if pa.types.is_dictionary(kind) else [self._counts(kind.field(n).type) for n in _fields(kind)]
        return kind.num_buffers + sum(n for n, _ in children), 1 + sum(n for _, n in children)

    def _array(self, kind: pa.DataType, buffer: int, length: int) -> tuple[pa.Array, int, int]:
        """A column as an array, and the numbers of the buffer and the length after it."""
        spans = self._batch.buffers[buffer : buffer + kind.num_buffers]
        own = [pa.py_buffer(self._whole(span)) if span.length or n else None for n, span in enumerate(spans)]
        count = self._batch.lengths[length]
        buffer, length, children = buffer + kind.num_buffers, length + 1, []
        for number in _fields(kind):
            child, buffer, length = self._array(kind.field(number).type, buffer, length)
            children.append(child)
        return pa.Array.from_buffers(kind, count, own, children=children or None), buffer, length

    def _ends(self, kind: pa.DataType, buffer: int, rows: int) -> NDArray[np.int64]:
        """Return the places at which the images begin, and that at which the last ends."""
        if pa.types.is_fixed_size_binary(kind):
            return np.arange(rows + 1, dtype=np.int64) * kind.byte_width
        width = np.dtype(np.int64 if pa.types.is_large_binary(kind) else np.int32)
        data = self._whole(self._batch.buffers[buffer])
        return np.frombuffer(data[: (rows + 1) * width.itemsize if rows else 0], dtype=width).astype(np.int64)

    def _whole(self, span: Span) -> bytes:
        """The bytes of a buffer, unpacked."""
        if not self._batch.codec or not span.length:
            if span.length > _MAX_BUFFER:
                raise self._fault(f"has a buffer of {span.length} bytes")
            return self._exactly(span.place, span.length)
        size, packed = self._unpacked(span), self._exactly(span.place + 8, span.length - 8)
        # A packed buffer may be just as long as what it holds.
        if self._exactly(span.place, 8) == _UNCOMPRESSED.to_bytes(8, "little", signed=True):
            return packed
        try:
            return bytes(pa.Codec(self._batch.codec).decompress(packed, size, asbytes=True))
        except Exception as error:  # as for the schema
            raise self._fault(f"cannot be unpacked ({str(error)[:200]})") from error

    def _unpacked(self, span: Span) -> int:
        """The length that a compressed buffer unpacks to."""
        if span.length < 8:
            return 0
        size = int.from_bytes(self._exactly(span.place, 8), "little", signed=True)
        if size == _UNCOMPRESSED:
            return span.length - 8
        if not 0 <= size <= min(max(_MAX_UNPACKED, _MAX_RATIO * span.length), _MAX_BUFFER):
            cause = f"has a buffer of {span.length} bytes that unpacks to {size}"
            raise InputError(cause, item=self._path, remedy=_SAVE_PLAIN)
        return size

    def _exactly(self, place: int, length: int) -> bytes:
        self._opened.seek(place)
        data = self._opened.read(length)
        if len(data) != length:
            raise self._fault("ends inside a buffer")
        return data

    def _fault(self, cause: str) -> InputError:
        return InputError(cause, item=f"{self._path} at byte {self._batch.place}", remedy=REPAIR)


def _fields(kind: pa.DataType) -> range:
    return range(kind.num_fields)
