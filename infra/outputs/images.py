"""Images in Parquet: raw uint8 bytes in a binary column, the shape in the schema's metadata, pages checksummed.

A file is cut into row groups of about a mebibyte of pixels, so that reading one image reads only its row group.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, read_part, read_verified
from infra.storage.ranges import RangeFile
from infra.storage.store import Store

_METADATA_KEY = b"ddpm.image"
_ROW_GROUP_BYTES = 1 << 20
_END_BYTES = 8  # a Parquet file ends with the footer's length and PAR1
Images = NDArray[np.uint8]
# The label of an image without a class.
NO_LABEL = -1


def encode_images(images: Images, first_id: int, columns: dict[str, pa.Array], rules: dict[str, Any]) -> bytes:
    """Write images as the bytes of one Parquet file; equal arguments give equal bytes.

    Args:
        images: uint8 [n, channels, height, width].
        first_id: Number of the first image; the others count up from it.
        columns: Further columns of n rows each.
        rules: Further entries of the schema's metadata, next to dtype, layout and shape.
    """
    table = pa.table(
        {
            "id": pa.array(range(first_id, first_id + len(images)), type=pa.int64()),
            "image": pa.array([image.tobytes() for image in images], type=pa.binary()),
            **columns,
        }
    )
    about = {"dtype": "uint8", "layout": "CHW", "shape": list(images.shape[1:]), **rules}
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(about, sort_keys=True).encode()})
    buffer = BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(_ROW_GROUP_BYTES // images[0].size, 1),
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,  # because the least and the greatest image of a row group are of no use
        write_page_checksum=True,
    )
    return buffer.getvalue()


def decode_images(data: bytes, item: str) -> tuple[Images, pa.Table]:
    """Read what `encode_images` wrote: the images and the whole table.

    Raises:
        IntegrityError: If the bytes are something else.
    """
    file = ImageFile(BytesIO(data), item)
    return file.read(range(len(file.starts)))


class ImageFile:
    """A Parquet file that `encode_images` wrote, read by row groups.

    Args:
        opened: The file.
        item: The file's name in errors.
        footer: The result of an earlier call of `footer`, which spares reading the file's own.

    Attributes:
        starts: The first row of each row group.
        rows: Number of rows in all.
        labelled: Whether there are labels.

    Raises:
        IntegrityError: If it is something else. `read` raises it too, if a page differs from its checksum.
    """

    def __init__(self, opened: BytesIO | RangeFile, item: str, footer: bytes = b"") -> None:
        self._item, self._opened = item, opened
        with self._judged():
            metadata = pq.read_metadata(BytesIO(zlib.decompress(footer))) if footer else None
            self._file = pq.ParquetFile(opened, metadata=metadata, page_checksum_verification=True, pre_buffer=True)
            layout = self._file.metadata
            sizes = [layout.row_group(group).num_rows for group in range(layout.num_row_groups)]
            schema = self._file.schema_arrow
            self._shape = tuple(json.loads(schema.metadata[_METADATA_KEY])["shape"])
            if schema.field("image").type != pa.binary():
                raise TypeError(f"the images are of type {schema.field('image').type}")
            self.labelled = "label" in schema.names
        self.starts: NDArray[np.int64] = np.cumsum([0, *sizes], dtype=np.int64)[:-1]
        self.rows = int(sum(sizes))

    def footer(self) -> bytes:
        """Return the file's footer, with the schema and the row groups' offsets, in some sixty bytes per row group."""
        with self._judged():
            self._opened.seek(-_END_BYTES, os.SEEK_END)
            length = int.from_bytes(self._opened.read(4), "little")
            self._opened.seek(-_END_BYTES - length, os.SEEK_END)
            return zlib.compress(b"PAR1" + self._opened.read())

    def read(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> tuple[Images, pa.Table]:
        """Return the images [n, c, h, w] of some row groups, and their table or some of its columns."""
        with self._judged():
            # On this thread alone: a thread of Arrow's may still release the file's bytes, which Python owns, while
            # the process ends, and Python then aborts it.
            table = self._file.read_row_groups(groups, columns, use_threads=False)
            return _pixels(table["image"], self._shape), table

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise IntegrityError(f"is not a Parquet file of images ({error})", item=self._item) from error


def _pixels(column: pa.ChunkedArray, shape: tuple[int, ...]) -> Images:
    """All rows' bytes as images; without a copy if they are in one piece."""
    parts = [_chunk_pixels(chunk).reshape(len(chunk), *shape) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty((0, *shape), dtype=np.uint8)])


def _chunk_pixels(array: pa.Array) -> NDArray[np.uint8]:
    _, offsets, data = array.buffers()
    if array.null_count or offsets is None or data is None:
        raise ValueError("there are rows without an image")
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]


@dataclass(frozen=True, kw_only=True)
class DatasetReader:
    """Reads a sealed output of images through its manifest."""

    store: Store
    manifest: Manifest

    def load(self, split: str | None = None, limit: int | None = None) -> tuple[Images, NDArray[np.int32]]:
        """Return images [n, c, h, w] and labels [n] in memory, in order; every byte verified.

        Args:
            split: Only the units of this split.
            limit: The largest number of images to return; None for all.
        """
        images: list[Images] = []
        labels: list[NDArray[np.int32]] = []
        remaining = limit if limit is not None else sum(unit["rows"] for unit in self.manifest.units)
        for unit in self.units(split):
            if remaining <= 0:
                break
            unit_images, unit_labels = self.load_unit(unit)
            images.append(unit_images[:remaining])
            labels.append(unit_labels[:remaining])
            remaining -= len(images[-1])
        if not images:
            raise IntegrityError(f"holds no images of split {split!r}", item=self.manifest.folder)
        return np.concatenate(images), np.concatenate(labels)

    def units(self, split: str | None = None) -> list[Json]:
        """The records of the files that hold a split, in order; each file counts `rows` images."""
        return [unit for unit in self.manifest.units if split is None or unit["facts"]["split"] == split]

    def load_unit(self, unit: Json) -> tuple[Images, NDArray[np.int32]]:
        """Return the images and labels of one file, verified."""
        file = self.open_unit(unit)
        images, labels = self.read_groups(unit, file, range(len(file.starts)))
        return images[: unit["rows"]], labels[: unit["rows"]]

    def open_unit(self, unit: Json, *, footer: bytes = b"") -> ImageFile:
        """Open one file for reading its row groups.

        Args:
            unit: The file's record.
            footer: The file's footer from an earlier call. Without it, the whole file is read now and compared with its
                digest. With it, only row groups are read, and compared with their pages' checksums.

        Raises:
            IntegrityError: If the file differs from what was sealed.
        """
        folder, item = self.manifest.folder, self._item(unit)
        if not footer:
            file = ImageFile(BytesIO(read_verified(self.store, folder, unit)), item)
        else:
            parts = RangeFile(lambda start, length: read_part(self.store, folder, unit, start, length), unit["bytes"])
            file = ImageFile(parts, item, footer)
        if file.rows < unit["rows"]:
            raise IntegrityError("holds fewer rows than its manifest says", item=item)
        return file

    def read_groups(self, unit: Json, file: ImageFile, groups: Sequence[int]) -> tuple[Images, NDArray[np.int32]]:
        """Return images and labels of consecutive row groups of a unit's file; `NO_LABEL` if it has none."""
        images, table = file.read(groups, ["id", "image", "label"] if file.labelled else ["id", "image"])
        if table["id"][0].as_py() != unit["facts"]["first_id"] + file.starts[groups[0]]:
            raise IntegrityError("holds other rows than its manifest says", item=self._item(unit))
        labels = np.asarray(table["label"], np.int32) if file.labelled else np.full(len(table), NO_LABEL, np.int32)
        return images, labels

    def _item(self, unit: Json) -> str:
        return f"{self.manifest.folder}/{unit['file']}"
