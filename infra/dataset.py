"""Images in Parquet: raw uint8 bytes in a binary column, the shape in the schema's metadata, pages checksummed."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.errors import IntegrityError
from infra.plan import Json, Manifest, read_verified
from infra.store import Store

_METADATA_KEY = b"ddpm.image"
Images = NDArray[np.uint8]


def encode_images(images: Images, first_id: int, columns: dict[str, pa.Array], rules: dict[str, Any]) -> bytes:
    """Write images as the bytes of one Parquet file; equal arguments give equal bytes.

    Args:
        images: uint8 [n, channels, height, width].
        first_id: Number of the first; they count up from it.
        columns: Further columns of n rows each.
        rules: What else the schema's metadata says, beside dtype, layout and shape.
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
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False, write_page_checksum=True)
    return buffer.getvalue()


def decode_images(data: bytes, item: str) -> tuple[Images, pa.Table]:
    """Read what `encode_images` wrote: the images and the whole table.

    Raises:
        IntegrityError: If the bytes are something else.
    """
    try:
        with pq.ParquetFile(BytesIO(data), page_checksum_verification=True) as file:
            table = file.read()
        shape = json.loads(table.schema.metadata[_METADATA_KEY])["shape"]
        return _pixels(table["image"]).reshape(len(table), *shape), table
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"is not a Parquet file of images ({error})", item=item) from error


def _pixels(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """The bytes of all rows one after the other, without a copy where they are in one piece already."""
    if column.type != pa.binary():
        raise TypeError(f"the images are of type {column.type}")
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
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
            limit: At most so many images.
        """
        images: list[Images] = []
        labels: list[NDArray[np.int32]] = []
        wanted = limit if limit is not None else sum(unit["rows"] for unit in self.manifest.units)
        for unit in self.units(split):
            if wanted <= 0:
                break
            of_unit, their_labels = self.load_unit(unit)
            images.append(of_unit[:wanted])
            labels.append(their_labels[:wanted])
            wanted -= len(images[-1])
        if not images:
            raise IntegrityError(f"holds no images of split {split!r}", item=self.manifest.folder)
        return np.concatenate(images), np.concatenate(labels)

    def units(self, split: str | None = None) -> list[Json]:
        """The records of the files that hold a split, in order; `rows` images each."""
        return [unit for unit in self.manifest.units if split is None or unit["facts"]["split"] == split]

    def load_unit(self, unit: Json) -> tuple[Images, NDArray[np.int32]]:
        """Return the images and labels of one file, verified."""
        item = f"{self.manifest.folder}/{unit['file']}"
        images, table = decode_images(read_verified(self.store, self.manifest.folder, unit), item)
        rows = unit["rows"]
        if len(images) < rows or table["id"][0].as_py() != unit["facts"]["first_id"]:
            raise IntegrityError("holds other rows than its manifest says", item=item)
        labelled = "label" in table.column_names
        labels = np.asarray(table["label"][:rows], dtype=np.int32) if labelled else np.full(rows, -1, dtype=np.int32)
        return images[:rows], labels


class RowReader:
    """Random access to the images of a split by number, a bounded number of files in memory.

    Each file is verified when it is loaded; of those in memory the one unused for longest makes room.

    Args:
        reader: Of a sealed data set.
        split: Which.
        images_in_memory: Files are kept up to so many images, and at least one.
    """

    def __init__(self, reader: DatasetReader, split: str, images_in_memory: int) -> None:
        self._reader, self._limit = reader, images_in_memory
        self._units = reader.units(split)
        self._ends = np.cumsum([unit["rows"] for unit in self._units])
        self._held: OrderedDict[int, tuple[Images, NDArray[np.int32]]] = OrderedDict()

    def __call__(self, numbers: NDArray[np.int64]) -> tuple[Images, NDArray[np.int32]]:
        """Return the images [n, c, h, w] and labels [n] of these numbers, 0..size-1.

        Raises:
            IndexError: If a number is outside.
            IntegrityError: If a file is not what was sealed.
        """
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self._ends[-1]):
            raise IndexError(f"image numbers must lie in 0..{self._ends[-1] - 1}; got {numbers.min()}..{numbers.max()}")
        files = np.searchsorted(self._ends, numbers, side="right")
        images: Images | None = None
        labels = np.empty(len(numbers), dtype=np.int32)
        for file in np.unique(files):
            held, their_labels = self._load(int(file))
            here = files == file
            rows = numbers[here] - (self._ends[file] - self._units[file]["rows"])
            if images is None:
                images = np.empty((len(numbers), *held.shape[1:]), dtype=np.uint8)
            images[here], labels[here] = held[rows], their_labels[rows]
        if images is None:
            raise IndexError("no image numbers were given")
        return images, labels

    def _load(self, file: int) -> tuple[Images, NDArray[np.int32]]:
        if file in self._held:
            self._held.move_to_end(file)
            return self._held[file]
        room = self._limit - self._units[file]["rows"]
        while self._held and sum(len(labels) for _, labels in self._held.values()) > room:
            self._held.popitem(last=False)
        self._held[file] = self._reader.load_unit(self._units[file])
        return self._held[file]
