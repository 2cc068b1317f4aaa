"""Images in Parquet: raw uint8 bytes in a binary column, the shape in the schema's metadata, pages checksummed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.errors import IntegrityError
from infra.plan import Manifest, read_verified
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
        flat = np.frombuffer(b"".join(table["image"].to_pylist()), dtype=np.uint8)
        return flat.reshape(len(table), *shape), table
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"is not a Parquet file of images ({error})", item=item) from error


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
        for unit in self._units(split):
            if wanted <= 0:
                break
            item = f"{self.manifest.folder}/{unit['file']}"
            decoded, table = decode_images(read_verified(self.store, self.manifest.folder, unit), item)
            rows = min(unit["rows"], wanted)
            if len(decoded) < rows or table["id"][0].as_py() != unit["facts"]["first_id"]:
                raise IntegrityError("holds other rows than its manifest says", item=item)
            images.append(decoded[:rows])
            labels.append(
                np.asarray(table["label"][:rows], dtype=np.int32)
                if "label" in table.column_names
                else np.full(rows, -1, dtype=np.int32)
            )
            wanted -= rows
        if not images:
            raise IntegrityError(f"holds no images of split {split!r}", item=self.manifest.folder)
        return np.concatenate(images), np.concatenate(labels)

    def _units(self, split: str | None) -> Sequence[dict[str, Any]]:
        return [unit for unit in self.manifest.units if split is None or unit["facts"]["split"] == split]
