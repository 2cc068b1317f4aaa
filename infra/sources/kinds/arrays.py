"""NumPy files: .npy, read row by row, and .npz, read as a stream."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR, from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.array_labels import COLUMN, column_number, no_classes
from infra.sources.formats.array_names import LABELS, ArrayName, array_name
from infra.sources.formats.array_place import ArrayPlace
from infra.sources.formats.label_files import LabelFile, LabelFiles
from infra.sources.formats.npy import (
    HEADER_BYTES,
    Header,
    channels_first,
    check_images,
    read_header,
)
from infra.sources.formats.npy_labels import label_texts
from infra.sources.formats.npz import ZIP_ERRORS, image_keys, npz_members, whole_member
from infra.sources.formats.zip_members import ZIP_MARKS
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found, NoClasses, Other

_SPLIT_OF_KEY = re.compile(r"^(train|valid|validation|val|test)_|_(train|valid|validation|val|test)$")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArraySource:
    """Arrays of images [n, h, w] or [n, h, w, 1, 3 or 4] in .npy and .npz files.

    uint8, uint16 and bool say which value is white; for other numbers `reading.max_value` has to.

    Names say what is what, those of files and those of keys in an .npz, in capitals or not: x, images and data are
    images; y, labels and targets are labels; the rest of the words says which belong together (X_train and y_train,
    a and a-labels), and train, test and val in it are splits. The only labels belong to the only images. Channels may
    also come first: [n, 1, 3 or 4, h, w].

    Attributes:
        files: The arrays.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, in the order of the files' names, reading only headers and labels."""
        label_files = self._label_files()
        names = label_files.names
        for file in self.files.find():
            if not self._is_array(file) or (file.name in names and not self._uses_label_files):
                yield Other(file.name)
            elif file.name not in names:
                yield from (self._find_archive if self._is_archive(file) else self._find_array)(file, label_files)
        if self._uses_label_files:
            yield from (Other(file.name) for file in label_files.rest())

    def _label_files(self) -> LabelFiles:
        """The files of labels, and where those of images are."""
        found = LabelFiles()
        for file in filter(self._is_array, self.files.find()):
            name = _name(file)
            if name.role != LABELS or not self._is_labels(file):
                found.add_images(file)
            else:
                count = self._count(file) if self._uses_label_files else None
                found.add(LabelFile(file, self.files.path(file.name), name, count))
        return found

    def _count(self, file: File) -> int | None:
        """The number of labels in a file; None if it cannot be read, which matters only if these are the labels."""
        path = self.files.path(file.name)
        try:
            if not self._is_archive(file):
                return _length(read_header(BytesIO(self.files.read(file, 0, min(file.size, HEADER_BYTES))), path))
            with self._opened(file) as (archive, members), archive.open(next(iter(members.values()))) as stream:
                return _length(read_header(stream, path))
        except InputError:
            return None

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one image at a time is in memory."""
        for (name, _), group in groupby(entries, key=lambda entry: (entry.file, ArrayPlace.of(entry).key)):
            same = list(group)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            yield from self._read_archive(file, same) if self._is_archive(file) else self._read_array(file, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        place = ArrayPlace.of(entry)
        pixels = np.frombuffer(content, dtype=place.kind).reshape(place.shape)
        pixels = pixels.transpose(1, 2, 0) if channels_first(place.shape) else pixels
        return from_array(pixels, entry.name, self.reading.max_value)

    def _is_labels(self, file: File) -> bool:
        """Whether a file of a label's name holds nothing else; an archive may also hold the images."""
        if not self._is_archive(file):
            return True
        with self._opened(file) as (_, members):
            return len(members) == 1

    def _labels(self, images: File, count: int, label_files: LabelFiles) -> tuple[list[str], list[NoClasses]]:
        """The labels in a file of their own, empty if there are none, and a remark if they are no classes."""
        file = label_files.of(images, _name(images), count) if self._uses_label_files else None
        if file is None:
            return [], []
        item = self.files.path(file.name)
        column = column_number(self.reading.picked, item)
        if not self._is_archive(file):
            return _with_remark(item, column, *label_texts(self.files.read(file), count, item, column))
        with self._opened(file) as (archive, members):
            ((key, info),) = members.items()
            item = f"{item}[{key}]"
            data = whole_member(archive, info, item)
            return _with_remark(item, column, *label_texts(data, count, item, column))

    @property
    def _labelled(self) -> bool:
        """Whether label arrays count."""
        return self.reading.own_labels or bool(self.reading.picked)

    @property
    def _uses_label_files(self) -> bool:
        """Whether files of labels count: a key names labels in the archive of the images."""
        return self._labelled and not self.reading.labels.startswith("key:")

    def _label_key(
        self, key: str, usual: str, members: Mapping[str, zipfile.ZipInfo], path: str
    ) -> tuple[str, int | None]:
        """The key of the labels of an array of images, empty if it has none, and the column of them to take."""
        picked = self.reading.picked
        if picked:
            found = _beside(key, picked)
            if found in members and found != key:
                return found, None
            if not COLUMN.fullmatch(picked):
                cause = f"has no key {picked}: its keys are {', '.join(list(members)[:8])}"
                raise InputError(cause, item=path, remedy=f"set {Term.LABELS}=key:NAME to one of these")
        return usual if self._labelled else "", int(picked) if picked else None

    def _is_array(self, file: File) -> bool:
        return is_of_kind("arrays", self.files, file)

    def _is_archive(self, file: File) -> bool:
        suffix = file.name.lower()[-4:]
        return suffix == ".npz" or (suffix != ".npy" and self.files.read(file, 0, 4).startswith(ZIP_MARKS))

    def _find_array(self, file: File, label_files: LabelFiles) -> Iterator[Entry | NoClasses]:
        path = self.files.path(file.name)
        header = read_header(BytesIO(self.files.read(file, 0, min(file.size, HEADER_BYTES))), path)
        check_images(header, file.size, self.reading.max_value, path)
        labels, remark = self._labels(file, header.shape[0], label_files)
        yield from remark
        yield from _entries(file, file.name, header, 0, "", labels)

    def _read_array(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        size = ArrayPlace.of(entries[0]).bytes
        with self.files.open(file) as opened:
            start = read_header(opened, path).length
            for entry in entries:
                opened.seek(start + ArrayPlace.of(entry).number * size)
                yield _exactly(opened, size, path)
        self.files.open(file).close()  # fails if the file changed meanwhile

    @contextmanager
    def _opened(self, file: File) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
        """Open an archive of arrays; its errors name the file."""
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened, zipfile.ZipFile(opened) as archive:
                yield archive, npz_members(archive, path)
        except ZIP_ERRORS as error:
            raise InputError(f"cannot be read as .npz ({error})", item=path, remedy=REPAIR) from error

    def _find_archive(self, file: File, label_files: LabelFiles) -> Iterator[Entry | NoClasses]:
        path = self.files.path(file.name)
        with self._opened(file) as (archive, members):
            for key, label_key, split in image_keys(list(members), path):
                item = f"{path}[{key}]"
                with archive.open(members[key]) as stream:
                    header = read_header(stream, item)
                check_images(header, members[key].file_size, self.reading.max_value, item)
                labels, remark = self._labels(file, header.shape[0], label_files)
                found, column = self._label_key(key, label_key, members, path)
                if found and self._labels_images(archive, members, found, header.shape[0]):
                    item = f"{path}[{found}]"
                    data = whole_member(archive, members[found], item)
                    texts = label_texts(data, header.shape[0], item, column)
                    labels, remark = _with_remark(item, column, *texts)
                yield from remark
                number = list(members).index(key)
                yield from _entries(file, f"{file.name}/{key}", header, number, split, labels)

    def _labels_images(
        self, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], key: str, count: int
    ) -> bool:
        """Whether a key of labels has those of so many images; the names of their classes are none."""
        if key == self.reading.picked or not array_name(key).may_name_classes:
            return True
        with archive.open(members[key]) as stream:
            return _length(read_header(stream, key)) == count

    def _read_archive(self, file: File, entries: list[Entry]) -> Iterator[bytes]:
        path = self.files.path(file.name)
        with self._opened(file) as (archive, members):
            first = ArrayPlace.of(entries[0])
            info, size = list(members.values())[first.key], first.bytes
            with archive.open(info) as stream:
                start = read_header(stream, path).length
                for entry in entries:
                    # Seeking in a packed member unpacks and drops everything before that place.
                    stream.seek(start + ArrayPlace.of(entry).number * size)
                    yield _exactly(stream, size, path)
                # zipfile compares the checksum of the whole array only at its end.
                while stream.read(_CHUNK):
                    pass


def _name(file: File) -> ArrayName:
    return array_name(PurePosixPath(file.name).stem)


def _length(header: Header) -> int:
    return header.shape[0] if header.shape else 0


def _entries(file: File, prefix: str, header: Header, key: int, split: str, labels: list[str]) -> Iterator[Entry]:
    for number in range(header.shape[0]):
        yield Entry(
            name=f"{prefix}/{number:06d}",
            file=file.name,
            size=file.size,
            stamp=file.stamp,
            at=ArrayPlace(number, header.shape[1:], key, header.dtype).stored,
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


def _with_remark(item: str, column: int | None, labels: list[str], trouble: str) -> tuple[list[str], list[NoClasses]]:
    """Labels, and a remark if they are no classes."""
    return labels, list(no_classes(item.rpartition("/")[2], trouble, column))


def _exactly(stream: IO[bytes], size: int, item: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise InputError("ends inside an image", item=item, remedy=REPAIR)
    return data
