"""MNIST-like sets: idx files, gzipped or not, of images and labels, with a given test split."""

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError
from infra.sources.source import Item, Listing, check_listed
from infra.store import sha256

_PARTS = {"train": "train", "test": "t10k"}
_UINT8 = 0x08
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class IdxSource:
    """A folder with {train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz].

    Attributes:
        folder: Where they are.
    """

    folder: str

    def list(self) -> Listing:
        """Find every image."""
        items: list[Item] = []
        for split in _PARTS:
            images = self._read(split, "images-idx3", dims=3)
            labels = self._read(split, "labels-idx1", dims=1)
            if len(images) != len(labels):
                raise InputError(f"{len(images)} {split} images but {len(labels)} labels", item=self.folder)
            items += [
                Item(name=f"{split}/{number:06d}", digest=sha256(image.tobytes()), split=split, label=int(label))
                for number, (image, label) in enumerate(zip(images, labels, strict=True))
            ]
        return Listing(items=items, class_names=[str(label) for label in range(max(i.label for i in items) + 1)])

    def reader(self) -> Callable[[Item], Image.Image]:
        """Return the function that decodes one image; it holds both parts in memory."""
        parts = {split: self._read(split, "images-idx3", dims=3) for split in _PARTS}

        def read(item: Item) -> Image.Image:
            split, number = item.name.split("/")
            image = parts[split][int(number)]
            check_listed(image.tobytes(), item, f"{self.folder}: {item.name}")
            return Image.fromarray(image)

        return read

    def _read(self, split: str, kind: str, dims: int) -> NDArray[np.uint8]:
        stem = Path(self.folder) / f"{_PARTS[split]}-{kind}-ubyte"
        for path in (stem, stem.with_name(stem.name + ".gz")):
            if path.is_file():
                return _parse(path, dims)
        raise InputError("is missing", item=f"{stem}[.gz]", remedy="set prepare.source to the folder of the idx files")


def _parse(path: Path, dims: int) -> NDArray[np.uint8]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", item=str(path)) from error
    header = 4 + 4 * dims
    if len(data) < header or data[:2] != b"\0\0" or data[2] != _UINT8 or data[3] != dims:
        raise InputError(f"is not an idx file of unsigned bytes with {dims} dimensions", item=str(path))
    shape = struct.unpack(f">{dims}I", data[4:header])
    if len(data) - header != int(np.prod(shape, dtype=object)):
        raise InputError(f"says it holds {shape} bytes and holds {len(data) - header}", item=str(path))
    if 0 in shape:
        raise InputError(f"holds nothing: its dimensions are {shape}", item=str(path))
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
