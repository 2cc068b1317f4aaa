"""MNIST-like sets: idx files, gzipped or not, of images and labels, with a given test split."""

import gzip
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Other

_PARTS = {"t10k": "test", "train": "train"}
_UINT8 = 0x08
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class IdxSource:
    """A folder with {train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz].

    Attributes:
        files: The four files, and others beside them.
        reading: What the user chose of how they are read.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image."""
        found: dict[str, File] = {}
        for file in self.files.find():
            path = PurePosixPath(file.name)
            name = path.name.removesuffix(".gz")
            if name in found and PurePosixPath(found[name].name).parent != path.parent:
                where = self.files.path(file.name)
                raise InputError(f"is a second {name}", item=where, remedy=f"set {Term.SOURCE} to one set's folder")
            found.setdefault(name, file)
        for part, split in _PARTS.items():
            file, label_file = (self._find(found, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
            images, labels = self._load(file, dims=3), self._load(label_file, dims=1)
            if len(images) != len(labels):
                where = self.files.path(file.name)
                raise InputError(f"holds {len(images)} images and there are {len(labels)} labels", item=where)
            height, width = images.shape[1:]
            for number, label in enumerate(labels):
                yield Entry(
                    name=f"{split}/{number:06d}",
                    file=file.name,
                    size=file.size,
                    stamp=file.stamp,
                    at=(number, height, width),
                    split=split,
                    label=str(label) if self.reading.own_labels else "",
                    split_from="the files train and t10k",
                    label_from="label files",
                )

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one part at a time is in memory."""
        held = ""
        for entry in entries:
            if entry.file != held:
                images = self._load(File(name=entry.file, size=entry.size, stamp=entry.stamp), dims=3)
                held = entry.file
            yield images[entry.at[0]].tobytes()

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(np.frombuffer(content, dtype=np.uint8).reshape(entry.at[1:]), entry.name)

    def _find(self, found: dict[str, File], name: str) -> File:
        if name not in found:
            where = f"{self.files.sources[0]}/{name}[.gz]"
            raise InputError("is missing", item=where, remedy=f"set {Term.SOURCE} to the folder of the idx files")
        return found[name]

    def _load(self, file: File, dims: int) -> NDArray[np.uint8]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened:
                data = (gzip.GzipFile(fileobj=opened) if path.endswith(".gz") else opened).read(_MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be read ({error})", item=path) from error
        return _parse(data, dims, path)


def _parse(data: bytes, dims: int, path: str) -> NDArray[np.uint8]:
    header = 4 + 4 * dims
    if len(data) < header or data[:2] != b"\0\0" or data[2] != _UINT8 or data[3] != dims:
        raise InputError(f"is not an idx file of unsigned bytes with {dims} dimensions", item=path)
    shape = struct.unpack(f">{dims}I", data[4:header])
    if len(data) - header != int(np.prod(shape, dtype=object)):
        raise InputError(f"says it holds {shape} bytes and holds {len(data) - header}", item=path)
    if 0 in shape:
        raise InputError(f"holds nothing: its dimensions are {shape}", item=path)
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
