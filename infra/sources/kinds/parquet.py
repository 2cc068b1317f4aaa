"""Parquet files of images: Hugging Face's, plain columns of encoded images, and this pipeline's own pixels.

Nothing is trusted: before anything is unpacked, footer and pages are held to the sizes that they claim.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice, repeat
from math import prod
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from infra.errors import DdpmError, InputError
from infra.sources.decode import REPAIR, decode, from_array
from infra.sources.files.file_set import MAX_BYTES, File, FileSet
from infra.sources.formats.parquet_pages import MAX_REPEAT, check_pages
from infra.sources.listing.placing import SPLITS
from infra.sources.source import Content, Entry, Other

_IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class")
_OWN_KEY, _HUGGING_FACE_KEY = b"ddpm.image", b"huggingface"
# Rows may unpack to so many bytes more, however few they are.
_SLACK = 16 << 20
_BATCH_BYTES, _MAX_BATCH, _LABEL_BATCH = 32 << 20, 64, 4096
_MAX_LABEL_CHARS = 256


@dataclass(frozen=True)
class _Columns:
    leaf: str  # the path of the images' bytes
    shape: tuple[int, ...]  # [c, h, w] of pixels; empty if the images are encoded
    label: str  # the name of the column; empty if there is none
    class_names: tuple[str, ...]
    split: str  # of a file of this pipeline; empty for any other


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files with a column of images, each in its row group and row.

    The column is called image, img, jpg, png or bytes, or is the only one of bytes; labels are in label, labels,
    fine_label or class. Splits are those of the folders, or of a file's name that has train, test or val in it.
    Files that this pipeline wrote name their split and classes themselves.

    Attributes:
        files: The tables.
    """

    files: FileSet

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of the files' names, reading only the labels."""
        for file in self.files.find():
            if file.name.endswith(".parquet"):
                yield from self._find(file)
            else:
                yield Other(file.name)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their bytes; a page and a few images at a time are in memory."""
        for (name, group), rows in groupby(entries, key=lambda entry: (entry.file, entry.at[0])):
            same = list(rows)
            yield from self._read(File(name=name, size=same[0].size, stamp=same[0].stamp), group, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode an image, or make one of these pixels."""
        if len(entry.at) == 2:
            return decode(content, f"{self.files.path(entry.file)}[{entry.at[0]},{entry.at[1]}]")
        pixels = np.frombuffer(content, dtype=np.uint8).reshape(entry.at[2:])
        return from_array(pixels.transpose(1, 2, 0), entry.name)

    def _find(self, file: File) -> Iterator[Entry]:
        path = self.files.path(file.name)
        with self.files.open(file) as opened, _parquet(opened, path) as parquet:
            columns = _columns(parquet, path)
            rows = parquet.metadata.num_rows
            if not 0 <= rows <= file.size:
                raise InputError(f"says it holds {rows} images in {file.size} bytes", item=path, remedy=REPAIR)
            number = 0
            for group in range(parquet.metadata.num_row_groups):
                # One row more than the file claims is enough to refuse it.
                for row, label in enumerate(islice(_labels(parquet, opened, group, columns, path), rows - number + 1)):
                    yield Entry(
                        name=f"{file.name}/{number:06d}",
                        file=file.name,
                        size=file.size,
                        stamp=file.stamp,
                        at=(group, row, *columns.shape),
                        split=columns.split,
                        label=label or "",
                        folder=file.name.rpartition("/")[0],
                        split_from="the files themselves",
                        label_from=f"column {columns.label}",
                    )
                    number += 1
            if number != rows:
                raise InputError(f"says it holds {rows} images and holds {number}", item=path, remedy=REPAIR)

    def _read(self, file: File, group: int, entries: list[Entry]) -> Iterator[Content]:
        path = self.files.path(file.name)
        with self.files.open(file) as opened, _parquet(opened, path) as parquet:
            columns = _columns(parquet, path)
            declared = check_pages(opened, parquet.metadata.row_group(group), columns.leaf, path)
            values = enumerate(_values(parquet, group, columns.leaf, declared, path))
            for entry in entries:
                value = next((value for row, value in values if row == entry.at[1]), None)
                name = f"{path}[{group},{entry.at[1]}]"
                yield _content(value, columns.shape, name)


@contextmanager
def _parquet(opened: BinaryIO, path: str) -> Iterator[pq.ParquetFile]:
    """Open a file; an error of Arrow names the file."""
    options = {"buffer_size": 1 << 20, "page_checksum_verification": True}
    limits = {"thrift_string_size_limit": 16 << 20, "thrift_container_size_limit": 1_000_000}
    try:
        with pq.ParquetFile(opened, **options, **limits) as plain:
            metadata, paths = plain.metadata, [column.path for column in plain.schema]
        # Labels are read as a dictionary, else a long label that repeats would be copied for each row.
        labels = [name for name in _LABEL_COLUMNS if name in paths]
        with pq.ParquetFile(opened, metadata=metadata, read_dictionary=labels, **options, **limits) as parquet:
            yield parquet
    except DdpmError:
        raise
    except Exception as error:  # types that Ray added to Arrow raise whatever a hostile schema leads to
        raise InputError(f"cannot be read as Parquet ({str(error)[:200]})", item=path, remedy=REPAIR) from error


def _columns(parquet: pq.ParquetFile, path: str) -> _Columns:
    schema: pa.Schema = parquet.schema_arrow
    image = _image_column(schema, path)
    leaf = f"{image}.bytes" if pa.types.is_struct(schema.field(image).type) else image
    metadata = schema.metadata or {}
    own = _json(metadata, _OWN_KEY, path)
    match own:
        case {"dtype": "uint8", "layout": "CHW", "shape": [int() as c, int() as h, int() as w]} if min(c, h, w) > 0:
            shape: tuple[int, ...] = (c, h, w)
        case about if about:
            raise InputError("says of its pixels what is not known", item=path, remedy="prepare it again")
        case _:
            shape = ()
    label = next((name for name in _LABEL_COLUMNS if schema.get_field_index(name) >= 0), "")
    if label and not _is_label(schema.field(label).type):
        cause = f"has labels of the type {schema.field(label).type}, neither integers nor text"
        raise InputError(cause, item=path, remedy=f"write {label} as integers")
    names = _class_names(metadata, label, own, path) if label else ()
    split = own.get("split")
    return _Columns(leaf, shape, label, names, str(split) if split in SPLITS else "")


def _image_column(schema: pa.Schema, path: str) -> str:
    named = [name for name in _IMAGE_COLUMNS if name in schema.names][:1]
    found = named or [field.name for field in schema if _is_image(field.type)]
    if len(found) != 1 or schema.names.count(found[0]) != 1:
        cause = "has several columns of bytes" if found else "has no column of images"
        raise InputError(f"{cause}: {', '.join(schema.names)[:200]}", item=path, remedy="call the images' column image")
    field = schema.field(found[0])
    # Arrow returns an extension type that it does not know as its storage type: bytes of unknown meaning.
    extension = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode("latin-1")
    if extension or not _is_image(field.type):
        cause = f"has a column {found[0]} of the type {(extension or str(field.type))[:80]}, not of bytes"
        raise InputError(cause, item=path, remedy="write the encoded images as bytes")
    return str(found[0])


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string))


def _class_names(metadata: dict[bytes, bytes], label: str, own: dict[str, object], path: str) -> tuple[str, ...]:
    found: object = _json(metadata, _HUGGING_FACE_KEY, path)
    for key in ("info", "features", label, "names"):
        found = found.get(key, {}) if isinstance(found, dict) else {}
    given = own.get("class_names", found)
    names = given if isinstance(given, list) else []
    if not all(isinstance(name, str) and len(name) <= _MAX_LABEL_CHARS and name.isprintable() for name in names):
        raise InputError(f"has names of {label} that are no text", item=path, remedy=REPAIR)
    return tuple(names)


def _json(metadata: dict[bytes, bytes], key: bytes, path: str) -> dict[str, object]:
    try:
        found = json.loads(metadata.get(key, b"{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"has metadata that is no JSON ({error})", item=path, remedy=REPAIR) from error
    return found if isinstance(found, dict) else {}


def _labels(
    parquet: pq.ParquetFile, opened: BinaryIO, group: int, columns: _Columns, path: str
) -> Iterator[str | None]:
    """The label of each row of a group; None if there is no column of labels."""
    meta = parquet.metadata.row_group(group)
    if not columns.label:
        yield from repeat(None, min(max(meta.num_rows, 0), parquet.metadata.num_rows))
        return
    check_pages(opened, meta, columns.label, path)
    for batch in parquet.iter_batches(_LABEL_BATCH, row_groups=[group], columns=[columns.label], use_threads=False):
        for scalar in batch.column(0):
            value, names = scalar.as_py(), columns.class_names
            if isinstance(value, int) and names and value >= len(names):
                raise InputError(f"has the label {value} of {len(names)}", item=path, remedy=REPAIR)
            if isinstance(value, int):
                # By convention -1 stands for a label that is not published.
                value = "" if value < 0 else names[value] if names else str(value)
            if len(value or "") > _MAX_LABEL_CHARS:
                raise InputError(f"has a label of over {_MAX_LABEL_CHARS} characters", item=path, remedy=REPAIR)
            if not (value or "").isprintable():
                raise InputError(f"has a label that cannot be printed: {value[:20]!a}", item=path, remedy=REPAIR)
            yield value or ""


def _values(parquet: pq.ParquetFile, group: int, leaf: str, declared: int, path: str) -> Iterator[pa.Scalar]:
    size, left = max(1, min(_MAX_BATCH, _BATCH_BYTES // max(declared, 1))), MAX_REPEAT * declared + _SLACK
    for batch in parquet.iter_batches(size, row_groups=[group], columns=[leaf], use_threads=False):
        left -= batch.nbytes
        if left < 0:
            raise InputError(f"unpacks to over {MAX_REPEAT} times what it says", item=path, remedy=REPAIR)
        yield from batch.column(0)


def _content(scalar: pa.Scalar | None, shape: tuple[int, ...], name: str) -> Content:
    if scalar is None:
        raise InputError("is not there", item=name, remedy=REPAIR)
    if scalar.is_valid and isinstance(scalar, pa.StructScalar):
        scalar = scalar["bytes"]
        if not scalar.is_valid:
            return InputError(
                "has no bytes, and files elsewhere are not followed", item=name, remedy="embed the images"
            )
    if not scalar.is_valid:
        return InputError("is null", item=name, remedy="remove the row")
    buffer = scalar.as_buffer()
    if buffer.size > MAX_BYTES:
        return InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=name, remedy="remove the row")
    if shape and buffer.size != prod(shape):
        return InputError(f"has {buffer.size} bytes, not those of {shape}", item=name, remedy="prepare it again")
    return bytes(buffer.to_pybytes())
