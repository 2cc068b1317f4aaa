"""NumPy files: .npy, read row by row, and .npz, read as a stream."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import REPAIR, from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.npy import HEADER_BYTES, PIXEL_TYPES, Header, check_images, label_texts, read_header
from infra.sources.formats.npz import ZIP_ERRORS, image_keys, npz_members, whole_member
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Other

_LABEL_FILE = re.compile(r"[-_]labels\.npy$")
_ROLE = re.compile(r"([-_](labels|images))?\.npy$")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArraySource:
    """Arrays of images [n, h, w] or [n, h, w, 1, 3 or 4] in .npy and .npz files.

    uint8, uint16 and bool say which value is white; for other numbers `reading.max_value` has to.

    Labels are in `x-labels.npy` or `x_labels.npy` beside `x.npy`, `x-images.npy` or `x_images.npy`, or below a key of
    their own. Splits come from the keys (x_train), from the folders, or from a file's name that has train, test or val
    in it as a word.

    Attributes:
        files: The arrays.
        reading: What the user chose of how they are read.
    """

    files: FileSet
    reading: Reading = BY_RULE

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
            raise InputError(
                "labels no images: no file of images has its name", item=path, remedy="remove or rename it"
            )

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one image at a time is in memory."""
        for (name, _), group in groupby(entries, key=lambda entry: (entry.file, _Place.of(entry).key)):
            same = list(group)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            yield from self._read_archive(file, same) if name.endswith(".npz") else self._read_array(file, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        place = _Place.of(entry)
        pixels = np.frombuffer(content, dtype=place.kind).reshape(place.shape)
        return from_array(pixels, entry.name, self.reading.max_value)

    def _find_array(self, file: File, label_file: File | None) -> Iterator[Entry]:
        path = self.files.path(file.name)
        header = read_header(BytesIO(self.files.read(file, 0, min(file.size, HEADER_BYTES))), path)
        check_images(header, file.size, self.reading.max_value, path)
        labels = None
        if label_file is not None:
            data = self.files.read(label_file)
            labels = label_texts(data, header.shape[0], self.files.path(label_file.name))
        yield from _entries(file, file.name, header, 0, "", labels)

    def _read_array(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        size = _Place.of(entries[0]).bytes
        with self.files.open(file) as opened:
            start = read_header(opened, path).length
            for entry in entries:
                opened.seek(start + _Place.of(entry).number * size)
                yield _exactly(opened, size, path)
        self.files.open(file).close()  # fails if the file changed meanwhile

    def _find_archive(self, file: File) -> Iterator[Entry]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                members = npz_members(archive, path)
                for key, label_keys, split in image_keys(members, path):
                    item = f"{path}[{key}]"
                    with archive.open(members[key]) as stream:
                        header = read_header(stream, item)
                    check_images(header, members[key].file_size, self.reading.max_value, item)
                    found = next((name for name in label_keys if name in members), None)
                    labels = None
                    if found is not None:
                        data = whole_member(archive, members[found], f"{path}[{found}]")
                        labels = label_texts(data, header.shape[0], f"{path}[{found}]")
                    number = list(members).index(key)
                    yield from _entries(file, f"{file.name}/{key}", header, number, split, labels)
        except ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error

    def _read_archive(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                first = _Place.of(entries[0])
                info, size = list(npz_members(archive, path).values())[first.key], first.bytes
                with archive.open(info) as stream:
                    start = read_header(stream, path).length
                    for entry in entries:
                        # Seeking in a packed member unpacks and drops everything before that place.
                        stream.seek(start + _Place.of(entry).number * size)
                        yield _exactly(stream, size, path)
                    # zipfile compares the checksum of the whole array only at its end.
                    while stream.read(_CHUNK):
                        pass
        except ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error


class _Place(NamedTuple):
    """The place of an image, as the numbers `at` of its entry store it.

    Attributes:
        number: Its number in the array.
        shape: [h, w] or [h, w, c].
        key: The index of the array's key in the archive; 0 for a file of one array.
        kind: The type of its pixels.
    """

    number: int
    shape: tuple[int, ...]
    key: int
    kind: np.dtype[Any]

    @classmethod
    def of(cls, entry: Entry) -> "_Place":
        # A type other than uint8 comes last, as a number below 0.
        at, kind = (entry.at[:-1], -entry.at[-1]) if entry.at[-1] < 0 else (entry.at, 0)
        return cls(at[0], at[1:-1], at[-1], PIXEL_TYPES[kind])

    @property
    def stored(self) -> tuple[int, ...]:
        kind = PIXEL_TYPES.index(self.kind)
        return (self.number, *self.shape, self.key, *((-kind,) if kind else ()))

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.kind.itemsize


def _is_label_file(file: File) -> bool:
    return bool(_LABEL_FILE.search(file.name))


def _stem(name: str) -> str:
    """The part of the name that a file of images shares with the file of its labels."""
    return _ROLE.sub("", name)


def _entries(
    file: File, prefix: str, header: Header, key: int, split: str, labels: list[str] | None
) -> Iterator[Entry]:
    for number in range(header.shape[0]):
        yield Entry(
            name=f"{prefix}/{number:06d}",
            file=file.name,
            size=file.size,
            stamp=file.stamp,
            at=_Place(number, header.shape[1:], key, header.dtype).stored,
            split=split,
            label=labels[number] if labels is not None else "",
            folder=file.name.rpartition("/")[0],
            split_from="keys of arrays",
            label_from="label arrays",
        )


def _exactly(stream: IO[bytes], size: int, item: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise InputError("ends inside an image", item=item, remedy=REPAIR)
    return data
