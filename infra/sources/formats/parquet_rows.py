"""The rows of a Parquet file: labels and stored images, a few at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from math import prod
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import DdpmError, InputError
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import LABEL_COLUMNS, Columns, label_text
from infra.sources.formats.parquet_pages import MAX_REPEAT, check_pages
from infra.sources.source import Content

# Rows may unpack to so many bytes more, however few they are.
_SLACK = 16 << 20
_BATCH_BYTES, _MAX_BATCH, _LABEL_BATCH = 32 << 20, 64, 4096


@contextmanager
def open_parquet(opened: BinaryIO, path: str, picked: str = "") -> Iterator[pq.ParquetFile]:
    """Open a file; an error of Arrow names the file.

    Args:
        opened: The file.
        path: Its name in an error.
        picked: The column of labels that the user chose, if any.
    """
    options = {"buffer_size": 1 << 20, "page_checksum_verification": True}
    limits = {"thrift_string_size_limit": 16 << 20, "thrift_container_size_limit": 1_000_000}
    try:
        with pq.ParquetFile(opened, **options, **limits) as plain:
            metadata, paths = plain.metadata, [column.path for column in plain.schema]
        # Labels are read as a dictionary, else a long label that repeats would be copied for each row.
        labels = [name for name in (*LABEL_COLUMNS, picked) if name in paths]
        with pq.ParquetFile(opened, metadata=metadata, read_dictionary=labels, **options, **limits) as parquet:
            yield parquet
    except DdpmError:
        raise
    except Exception as error:  # types that Ray added to Arrow raise whatever a hostile schema leads to
        raise InputError(f"cannot be read as Parquet ({str(error)[:200]})", item=path, remedy=REPAIR) from error


def row_labels(
    parquet: pq.ParquetFile,
    opened: BinaryIO,
    group: int,
    columns: Columns,
    path: str,
    values: LabelValues,
    *,
    signed: bool = False,
) -> Iterator[str | None]:
    """Read the label of each row of a group; None if there is no column of labels.

    Args:
        parquet: The file.
        opened: The same, for the headers of pages.
        group: The number of the row group.
        columns: The columns of the file.
        path: Its name in an error.
        values: Turns values into classes, and notices if they are none.
        signed: Whether a negative number is a label; by convention -1 stands for one that is not published.
    """
    meta = parquet.metadata.row_group(group)
    if not columns.label:
        yield from repeat(None, min(max(meta.num_rows, 0), parquet.metadata.num_rows))
        return
    leaf = next((n for column in parquet.schema if (n := column.path).startswith(f"{columns.label}.")), columns.label)
    check_pages(opened, meta, leaf, path)
    for batch in parquet.iter_batches(_LABEL_BATCH, row_groups=[group], columns=[columns.label], use_threads=False):
        for scalar in batch.column(0):
            yield label_text(scalar, columns, path, values, signed=signed)


def row_values(parquet: pq.ParquetFile, group: int, leaf: str, declared: int, path: str) -> Iterator[pa.Scalar]:
    """Read the images of a row group, a few rows at a time.

    Raises:
        InputError: If they unpack to far more than the `declared` bytes of their pages.
    """
    size, left = max(1, min(_MAX_BATCH, _BATCH_BYTES // max(declared, 1))), MAX_REPEAT * declared + _SLACK
    for batch in parquet.iter_batches(size, row_groups=[group], columns=[leaf], use_threads=False):
        left -= batch.nbytes
        if left < 0:
            raise InputError(f"unpacks to over {MAX_REPEAT} times the size that it states", item=path, remedy=REPAIR)
        yield from batch.column(0)


def row_content(scalar: pa.Scalar | None, shape: tuple[int, ...], name: str) -> Content:
    """Return the stored bytes of one image, or the reason why the row has none.

    Args:
        scalar: The value of the row; None if the row does not exist.
        shape: [c, h, w] of pixels; empty if the image is encoded.
        name: The image's name in an error.

    Raises:
        InputError: If the row does not exist.
    """
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
