"""NumPy files: .npy, read row by row, and .npz, read as a stream; never a pickle, because a pickle runs code."""

import re
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from math import prod
from typing import IO

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import REPAIR, from_array
from infra.sources.files.file_set import MAX_BYTES, File, FileSet
from infra.sources.source import Content, Entry, Other

# Keys of images in an archive, each with the possible keys of its labels; per split the first that exists counts.
_WHOLE_KEYS = {
    "images": ("labels", "y"),
    "x": ("y", "labels"),
    "data": ("labels", "y"),
    "arr_0": ("arr_1",),
}
_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LABEL_FILE = re.compile(r"[-_]labels\.npy$")
_ROLE = re.compile(r"([-_](labels|images))?\.npy$")
_HEADER_BYTES = 1 << 14
_MAX_MEMBERS = 10_000
_MAX_LABEL_CHARS = 256
# The best ratio that deflate can reach; sizes beyond it are false.
_DEFLATE_RATIO = 1032
_CHUNK = 1 << 20
_AS_UINT8 = "save the pixels as numpy.uint8, 0 to 255"
_HEADER_ERRORS = (
    ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError,
)  # fmt: skip
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class _Header:
    """The header of a .npy, and its length in bytes."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class ArraySource:
    """Arrays of uint8 images [n, h, w] or [n, h, w, 1, 3 or 4] in .npy and .npz files.

    Labels are in `x-labels.npy` or `x_labels.npy` beside `x.npy`, `x-images.npy` or `x_images.npy`, or below a key of
    their own. Splits come from the keys (x_train), from the folders, or from a file's name that has train, test or val
    in it as a word.

    Attributes:
        files: The arrays.
    """

    files: FileSet

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of the files' names, reading only headers and labels."""
        label_files: dict[str, File] = {}
        for file in filter(_is_label_file, self.files.find()):
            if label_files.setdefault(_stem(file.name), file) is not file:
                path = self.files.path(file.name)
                raise InputError("is a second file of the same labels", item=path, remedy="remove or rename one")
        unused = set(label_files)
        for file in self.files.find():
            if file.name.endswith(".npz"):
                yield from self._find_archive(file)
            elif not file.name.endswith(".npy"):
                yield Other(file.name)
            elif not _is_label_file(file):
                unused.discard(_stem(file.name))
                yield from self._find_array(file, label_files.get(_stem(file.name)))
        for stem in sorted(unused):
            path = self.files.path(label_files[stem].name)
            raise InputError("labels no images: there is none of its name", item=path, remedy="remove or rename it")

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one image at a time is in memory."""
        for (name, _), group in groupby(entries, key=lambda entry: (entry.file, entry.at[-1])):
            same = list(group)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            yield from self._read_archive(file, same) if name.endswith(".npz") else self._read_array(file, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(np.frombuffer(content, dtype=np.uint8).reshape(entry.at[1:-1]), entry.name)

    def _find_array(self, file: File, label_file: File | None) -> Iterator[Entry]:
        path = self.files.path(file.name)
        header = _parse(BytesIO(self.files.read(file, 0, min(file.size, _HEADER_BYTES))), path)
        _check_images(header, file.size, path)
        labels = None
        if label_file is not None:
            data = self.files.read(label_file)
            labels = _labels(data, header.shape[0], self.files.path(label_file.name))
        # The last number of `at` is the index of the key in the archive; it is 0 for a file of one array.
        yield from _entries(file, file.name, header, 0, "", labels)

    def _read_array(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        size = prod(entries[0].at[1:-1])
        with self.files.open(file) as opened:
            start = _parse(opened, path).length
            for entry in entries:
                opened.seek(start + entry.at[0] * size)
                yield _exactly(opened, size, path)
        self.files.open(file).close()  # fails if the file changed meanwhile

    def _find_archive(self, file: File) -> Iterator[Entry]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                members = _members(archive, path)
                for key, label_keys, split in _image_keys(members, path):
                    item = f"{path}[{key}]"
                    with archive.open(members[key]) as stream:
                        header = _parse(stream, item)
                    _check_images(header, members[key].file_size, item)
                    found = next((name for name in label_keys if name in members), None)
                    labels = None
                    if found is not None:
                        data = _whole(archive, members[found], f"{path}[{found}]")
                        labels = _labels(data, header.shape[0], f"{path}[{found}]")
                    number = list(members).index(key)
                    yield from _entries(file, f"{file.name}/{key}", header, number, split, labels)
        except _ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error

    def _read_archive(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                info = list(_members(archive, path).values())[entries[0].at[-1]]
                size = prod(entries[0].at[1:-1])
                with archive.open(info) as stream:
                    start = _parse(stream, path).length
                    for entry in entries:
                        # Seeking in a packed member unpacks and drops everything before that place.
                        stream.seek(start + entry.at[0] * size)
                        yield _exactly(stream, size, path)
                    # zipfile compares the checksum of the whole array only at its end.
                    while stream.read(_CHUNK):
                        pass
        except _ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error


def _is_label_file(file: File) -> bool:
    return bool(_LABEL_FILE.search(file.name))


def _stem(name: str) -> str:
    """The part of the name that a file of images shares with the file of its labels."""
    return _ROLE.sub("", name)


def _parse(stream: IO[bytes], item: str) -> _Header:
    """Read the header of a .npy and nothing after it."""
    try:
        version = npy.read_magic(stream)
        reads = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in reads:
            raise ValueError(f"its version is {version}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the integers of Python 2
            shape, fortran, dtype = reads[version](stream)
    except _HEADER_ERRORS as error:
        raise InputError(f"is not a .npy file ({type(error).__name__}: {error})", item=item, remedy=REPAIR) from error
    if dtype.hasobject:
        raise InputError("holds Python objects, which are never loaded", item=item, remedy=_AS_UINT8)
    if fortran and len(shape) > 1:
        raise InputError("is in Fortran order", item=item, remedy="save numpy.ascontiguousarray of it")
    return _Header(dtype, shape, stream.tell())


def _check_images(header: _Header, size: int, item: str) -> None:
    shape = header.shape
    if header.dtype != np.uint8:
        raise InputError(f"holds {header.dtype}, not uint8", item=item, remedy=_AS_UINT8)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        wanted = "not images x height x width [x 1, 3 or 4]"
        raise InputError(f"has the shape {shape}, {wanted}", item=item, remedy="transpose or reshape it")
    if min(shape) < 1:
        raise InputError(f"holds nothing: its shape is {shape}", item=item)
    if header.length + prod(shape) != size:
        raise InputError(f"says it holds {shape} bytes and holds {size - header.length}", item=item, remedy=REPAIR)
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[2] < min(shape[:2]):
        cause = f"has the shape {shape}: one image, or {shape[0]} grey ones of {shape[1]}x{shape[2]}"
        raise InputError(cause, item=item, remedy="save images x height x width x channels")
    if prod(shape[1:]) > MAX_BYTES:
        raise InputError(f"holds images larger than {MAX_BYTES >> 20} MiB", item=item)


def _entries(
    file: File, prefix: str, header: _Header, key: int, split: str, labels: list[str] | None
) -> Iterator[Entry]:
    for number in range(header.shape[0]):
        yield Entry(
            name=f"{prefix}/{number:06d}",
            file=file.name,
            size=file.size,
            stamp=file.stamp,
            at=(number, *header.shape[1:], key),
            split=split,
            label=labels[number] if labels is not None else "",
            folder=file.name.rpartition("/")[0],
            split_from="keys of arrays",
            label_from="label arrays",
        )


def _labels(data: bytes, count: int, item: str) -> list[str]:
    """The labels in the bytes of a .npy of integers or text."""
    header = _parse(BytesIO(data), item)
    if header.dtype.kind not in "iuSU":
        raise InputError(f"holds {header.dtype}, not integers or text", item=item, remedy="save integers")
    if header.shape not in ((count,), (count, 1)):
        raise InputError(f"has the shape {header.shape}, and there are {count} images", item=item)
    if header.length + count * header.dtype.itemsize != len(data) or not header.dtype.itemsize:
        raise InputError(f"says it holds {count} labels and holds other bytes", item=item, remedy=REPAIR)
    body, kind = data[header.length :], header.dtype
    # NumPy would return invalid code points, which Python then cannot encode.
    coding = "utf-8" if kind.kind == "S" else "utf-32-be" if kind.byteorder == ">" else "utf-32-le"
    try:
        if kind.kind in "iu":
            texts = [str(value) for value in np.frombuffer(body, dtype=kind).tolist()]
        else:
            cells = (body[place : place + kind.itemsize] for place in range(0, len(body), kind.itemsize))
            texts = [cell.decode(coding).rstrip("\0") for cell in cells]
    except ValueError as error:
        raise InputError("holds text that is not Unicode", item=item, remedy="save integers") from error
    if max(map(len, texts)) > _MAX_LABEL_CHARS:
        raise InputError(f"holds a label of over {_MAX_LABEL_CHARS} characters", item=item, remedy="save integers")
    return texts


def _members(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) != len(infos) or len(infos) > _MAX_MEMBERS:
        raise InputError("holds a key twice, or too many", item=path, remedy="save it again")
    for info in infos:
        if info.file_size > _DEFLATE_RATIO * (info.compress_size + 1):
            cause = f"says that {info.compress_size} bytes unpack to {info.file_size}"
            raise InputError(cause, item=f"{path}[{info.filename}]", remedy=REPAIR)
    return members


def _image_keys(members: dict[str, zipfile.ZipInfo], path: str) -> list[tuple[str, tuple[str, ...], str]]:
    """The keys of images, each with the possible keys of its labels and with its split."""
    found: list[tuple[str, tuple[str, ...], str]] = []
    for name, split in _SPLIT_KEYS.items():
        pairs = {f"{name}_images": (f"{name}_labels",), f"x_{name}": (f"y_{name}",)}
        found += [(key, labels, split) for key, labels in pairs.items() if key in members][:1]
    found = found or [(key, labels, "") for key, labels in _WHOLE_KEYS.items() if key in members][:1]
    if not found:
        keys = ", ".join(list(members)[:8]) or "none"
        raise InputError(f"holds no images: its keys are {keys}", item=path, remedy="save them below the key images")
    return found


def _whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo, item: str) -> bytes:
    if info.file_size > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=item, remedy="save integers as labels")
    with archive.open(info) as stream:
        return stream.read(MAX_BYTES)


def _exactly(stream: IO[bytes], size: int, item: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise InputError("ends inside an image", item=item, remedy=REPAIR)
    return data
