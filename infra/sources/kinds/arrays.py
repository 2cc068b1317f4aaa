"""NumPy files: .npy, read row by row, and .npz, read as a stream."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from math import prod
from typing import IO

import numpy as np
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR, from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.npy import HEADER_BYTES, Header, check_images, read_header
from infra.sources.formats.npy_labels import label_texts
from infra.sources.formats.npz import ZIP_ERRORS, image_keys, npz_members, whole_member
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Found, NoClasses, Other

_LABEL_FILE = re.compile(r"[-_]labels\.npy$")
_ROLE = re.compile(r"([-_](labels|images))?\.npy$")
_SPLIT_OF_KEY = re.compile(r"^(train|valid|validation|val|test)_|_(train|valid|validation|val|test)$")
_NUMBER = re.compile(r"[0-9]{1,6}")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArraySource:
    """Arrays of uint8 images [n, h, w] or [n, h, w, 1, 3 or 4] in .npy and .npz files.

    Labels are in `x-labels.npy` or `x_labels.npy` beside `x.npy`, `x-images.npy` or `x_images.npy`, or below a key of
    their own. Splits come from the keys (x_train), from the folders, or from a file's name that has train, test or val
    in it as a word.

    Attributes:
        files: The arrays.
        reading: What the user chose of how they are read.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
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
        for (name, _), group in groupby(entries, key=lambda entry: (entry.file, entry.at[-1])):
            same = list(group)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            yield from self._read_archive(file, same) if name.endswith(".npz") else self._read_array(file, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(np.frombuffer(content, dtype=np.uint8).reshape(entry.at[1:-1]), entry.name)

    @property
    def _labelled(self) -> bool:
        """Whether label arrays count."""
        return self.reading.own_labels or bool(self.reading.picked)

    def _column(self, path: str) -> int | None:
        """The column of label arrays that the user chose, by its number."""
        picked = self.reading.picked
        if picked and not _NUMBER.fullmatch(picked):
            remedy = f"set {Term.LABELS}=column:NUMBER, counted from 0"
            raise InputError(f"has no column {picked}: columns of arrays have numbers", item=path, remedy=remedy)
        return int(picked) if picked else None

    def _label_key(
        self, key: str, label_keys: Sequence[str], members: Mapping[str, zipfile.ZipInfo], path: str
    ) -> tuple[str, int | None]:
        """The key of the labels of an array of images, empty if it has none, and the column of them to take."""
        picked = self.reading.picked
        if picked:
            found = _beside(key, picked)
            if found in members and found != key:
                return found, None
            if not _NUMBER.fullmatch(picked):
                cause = f"has no key {picked}: its keys are {', '.join(list(members)[:8])}"
                raise InputError(cause, item=path, remedy=f"set {Term.LABELS}=key:NAME to one of these")
        found = next((name for name in label_keys if name in members), "") if self._labelled else ""
        return found, int(picked) if picked else None

    def _find_array(self, file: File, label_file: File | None) -> Iterator[Entry | NoClasses]:
        path = self.files.path(file.name)
        header = read_header(BytesIO(self.files.read(file, 0, min(file.size, HEADER_BYTES))), path)
        check_images(header, file.size, path)
        labels: list[str] = []
        if label_file is not None and self._labelled:
            data, item = self.files.read(label_file), self.files.path(label_file.name)
            labels, trouble = label_texts(data, header.shape[0], item, self._column(item))
            yield from _no_classes(item, trouble)
        # The last number of `at` is the index of the key in the archive; it is 0 for a file of one array.
        yield from _entries(file, file.name, header, 0, "", labels)

    def _read_array(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        size = prod(entries[0].at[1:-1])
        with self.files.open(file) as opened:
            start = read_header(opened, path).length
            for entry in entries:
                opened.seek(start + entry.at[0] * size)
                yield _exactly(opened, size, path)
        self.files.open(file).close()  # fails if the file changed meanwhile

    def _find_archive(self, file: File) -> Iterator[Entry | NoClasses]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                members = npz_members(archive, path)
                for key, label_keys, split in image_keys(members, path):
                    item = f"{path}[{key}]"
                    with archive.open(members[key]) as stream:
                        header = read_header(stream, item)
                    check_images(header, members[key].file_size, item)
                    found, column = self._label_key(key, label_keys, members, path)
                    labels: list[str] = []
                    if found:
                        data, item = whole_member(archive, members[found], f"{path}[{found}]"), f"{path}[{found}]"
                        labels, trouble = label_texts(data, header.shape[0], item, column)
                        yield from _no_classes(item, trouble)
                    number = list(members).index(key)
                    yield from _entries(file, f"{file.name}/{key}", header, number, split, labels)
        except ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error

    def _read_archive(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                info = list(npz_members(archive, path).values())[entries[0].at[-1]]
                size = prod(entries[0].at[1:-1])
                with archive.open(info) as stream:
                    start = read_header(stream, path).length
                    for entry in entries:
                        # Seeking in a packed member unpacks and drops everything before that place.
                        stream.seek(start + entry.at[0] * size)
                        yield _exactly(stream, size, path)
                    # zipfile compares the checksum of the whole array only at its end.
                    while stream.read(_CHUNK):
                        pass
        except ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error


def _is_label_file(file: File) -> bool:
    return bool(_LABEL_FILE.search(file.name))


def _stem(name: str) -> str:
    """The part of the name that a file of images shares with the file of its labels."""
    return _ROLE.sub("", name)


def _entries(file: File, prefix: str, header: Header, key: int, split: str, labels: list[str]) -> Iterator[Entry]:
    for number in range(header.shape[0]):
        yield Entry(
            name=f"{prefix}/{number:06d}",
            file=file.name,
            size=file.size,
            stamp=file.stamp,
            at=(number, *header.shape[1:], key),
            split=split,
            label=labels[number] if labels else "",
            folder=file.name.rpartition("/")[0],
            split_from="keys of arrays",
            label_from="label arrays",
        )


def _beside(key: str, picked: str) -> str:
    """The key of labels beside the key of images, for a key of labels that may be another split's."""
    image, label = _SPLIT_OF_KEY.search(key), _SPLIT_OF_KEY.search(picked)
    plain = _SPLIT_OF_KEY.sub("", picked) if label else picked
    if image is None:
        return picked
    return f"{image[0]}{plain}" if image.start() == 0 else f"{plain}{image[0]}"


def _no_classes(item: str, trouble: str) -> Iterator[NoClasses]:
    if trouble:
        yield NoClasses(f"{item.rpartition('/')[2]}: {trouble}")


def _exactly(stream: IO[bytes], size: int, item: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise InputError("ends inside an image", item=item, remedy=REPAIR)
    return data
