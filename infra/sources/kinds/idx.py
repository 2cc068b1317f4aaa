"""MNIST-like sets: idx files of images and labels, gzipped or not, known by their content and their names' words."""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.array_labels import column_number, is_zeros_and_ones, no_classes, number_labels
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Found, Other

_SPLITS = {
    "train": "train", "training": "train", "t10k": "test", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
_ROLES = dict.fromkeys(("images", "image", "imgs", "x", "data"), "images") | dict.fromkeys(
    ("labels", "label", "y", "targets"), "labels"
)
_FORM = re.compile(r"idx\d?|ubyte|int|gz")
_SAYS_IDX = re.compile(r"idx\d|ubyte")
_ORDER = ("test", "train", "val", "")
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4"}
_UINT8 = 0x08
_IMAGE_DIMS, _LABEL_DIMS = (3, 4), (1, 2)
_CHANNELS = (1, 3, 4)
_MAX_BYTES = 1 << 30
_MAX_FILES = 1000
_NAME_THE_SET = f"set {Term.SOURCE} to the files of one set, as in emnist-letters-*"


@dataclass
class _Part:
    """The files of one split of a set, by their roles: `images` and `labels`."""

    files: dict[str, File] = field(default_factory=dict)


@dataclass(frozen=True)
class IdxSource:
    """Files in MNIST's format, such as train-images-idx3-ubyte.gz with train-labels-idx1-ubyte.gz.

    A file of three dimensions holds images, one of one dimension labels, or one of two: rows of labels are one-hot, or
    the first number of each is the class, as in QMNIST. The words train, test, t10k and val of its
    name, else of its folders, give the split; images and labels belong together if the rest of their names is equal.
    Labels and a second split may be missing. Of a file and its copy, gzipped or in a folder of the file's own name,
    the first counts.

    Attributes:
        files: The files of the set, and others beside them.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image."""
        sets: dict[str, dict[str, _Part]] = {}
        for number, file in enumerate(self.files.find()):
            if number >= _MAX_FILES:
                raise InputError(
                    f"holds more than {_MAX_FILES} files", item=self.files.sources[0], remedy=_NAME_THE_SET
                )
            role = self._role(file)
            if role is None or (role == "labels" and not self._wants_labels):
                yield Other(file.name)
                continue
            name, split = _set_and_split(file.name)
            if sets and name not in sets:
                cause = (
                    f"is of a second set ({name or 'without a name'} beside {next(iter(sets)) or 'one without a name'})"
                )
                raise InputError(cause, item=self.files.path(file.name), remedy=_NAME_THE_SET)
            sets.setdefault(name, {}).setdefault(split, _Part()).files.setdefault(role, file)
        parts = next(iter(sets.values()), {})
        if not any("images" in part.files for part in parts.values()):
            cause = "holds no idx file of images, such as train-images-idx3-ubyte[.gz]"
            raise InputError(
                cause, item=self.files.sources[0], remedy=f"set {Term.SOURCE} to the folder of the idx files"
            )
        labelled = any("labels" in part.files for part in parts.values())
        mnist = any("t10k" in file.name for part in parts.values() for file in part.files.values())
        origin = "the files train and t10k" if mnist else "the names of the files"
        for split in [split for split in _ORDER if split in parts]:
            yield from self._entries(split, parts[split].files, origin, labelled=labelled)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one part at a time is in memory."""
        held = ""
        for entry in entries:
            if entry.file != held:
                images = self._load(File(name=entry.file, size=entry.size, stamp=entry.stamp), _IMAGE_DIMS)
                held = entry.file
            yield images[entry.at[0]].tobytes()

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(
            np.frombuffer(content, dtype=np.uint8).reshape(entry.at[1:]), entry.name, self.reading.max_value
        )

    def _entries(self, split: str, files: dict[str, File], origin: str, *, labelled: bool) -> Iterator[Found]:
        for role, wanted in (("images", True), ("labels", labelled)):
            if wanted and role not in files:
                (there,) = files.values()
                beside = f"holds {next(iter(files))}, and a file of their {role} is missing"
                remedy = f"put it there, or set {Term.SOURCE} to the other files alone"
                raise InputError(beside, item=self.files.path(there.name), remedy=remedy)
        file = files["images"]
        images = self._load(file, _IMAGE_DIMS)
        labels, trouble = self._labels(files["labels"], len(images), file) if labelled else ([], "")
        if trouble:
            column = column_number(self.reading.picked, self.files.path(files["labels"].name))
            yield from no_classes(PurePosixPath(files["labels"].name).name, trouble, column)
        shape = images.shape[1:]
        for number in range(len(images)):
            yield Entry(
                name=f"{split or 'images'}/{number:06d}",
                file=file.name,
                size=file.size,
                stamp=file.stamp,
                at=(number, *shape),
                split=split,
                label=labels[number] if labels else "",
                split_from=origin,
                label_from="label files",
            )

    @property
    def _wants_labels(self) -> bool:
        """Whether files of labels count."""
        return self.reading.own_labels or bool(self.reading.picked)

    def _labels(self, file: File, count: int, images: File) -> tuple[list[str], str]:
        """The labels in a file, empty if they are no classes, and why they are none."""
        values, path = self._load(file, _LABEL_DIMS), self.files.path(file.name)
        if len(values) != count:
            cause = f"holds {count} images and there are {len(values)} labels"
            remedy = f"fetch both files again, or set {Term.LABELS}=none to train without classes"
            raise InputError(cause, item=self.files.path(images.name), remedy=remedy)
        rows, column = values.reshape(count, -1), column_number(self.reading.picked, path)
        # QMNIST has rows of labels; the first is the class.
        if column is None and not is_zeros_and_ones(rows):
            column = 0
        return number_labels(rows, path, column)

    def _role(self, file: File) -> str | None:
        """Return `images` or `labels`, by the file's name, else by its content; None if it is no idx file."""
        words = _words(PurePosixPath(file.name).name)
        says_idx = bool(_SAYS_IDX.search(file.name.lower()))
        dims = None if says_idx else self._dims(file)
        if not says_idx and dims is None:
            return None
        role = next((_ROLES[word] for word in words if word in _ROLES), "")
        return role or ("labels" if (dims or self._dims(file)) in _LABEL_DIMS else "images")

    def _dims(self, file: File) -> int | None:
        """The number of dimensions that the beginning of an idx file states; None if it is none."""
        try:
            with self.files.open(file) as opened:
                start = (gzip.GzipFile(fileobj=opened) if file.name.lower().endswith(".gz") else opened).read(4)
        except (OSError, EOFError, zlib.error):
            return None
        known = len(start) == 4 and start[:2] == b"\0\0" and start[2] in _TYPES
        return start[3] if known and start[3] in (*_IMAGE_DIMS, *_LABEL_DIMS) else None

    def _load(self, file: File, dims: Sequence[int]) -> NDArray[np.generic]:
        path = self.files.path(file.name)
        try:
            with self.files.open(file) as opened:
                data = (gzip.GzipFile(fileobj=opened) if path.lower().endswith(".gz") else opened).read(_MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be read ({error})", item=path, remedy="fetch it again") from error
        return _parse(data, dims, path)


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", name.lower())


def _set_and_split(name: str) -> tuple[str, str]:
    """The name of a file's set, and its split: the rest of the words around it, and the word for a split."""
    *folders, own = name.split("/")
    words = [word for word in _words(own) if word and not _FORM.fullmatch(word) and word not in _ROLES]
    split = next((_SPLITS[word] for word in words if word in _SPLITS), "")
    rest = [word for word in words if word not in _SPLITS]
    # Some unpackers put each file into a folder of its own name.
    if folders and _words(folders[-1]) == [word for word in _words(own) if word != "gz"]:
        folders = folders[:-1]
    if not split:
        split = next((_SPLITS[folder.lower()] for folder in folders if folder.lower() in _SPLITS), "")
        folders = [folder for folder in folders if folder.lower() not in _SPLITS]
    return "/".join([*folders, "-".join(rest)]), split


def _parse(data: bytes, dims: Sequence[int], path: str) -> NDArray[np.generic]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] not in dims:
        kinds = "integers" if dims == _LABEL_DIMS else "unsigned bytes"
        cause = f"is not an idx file of {kinds} with {dims[0]} dimension{'s' if dims[0] > 1 else ''}"
        raise InputError(cause, item=path, remedy="fetch it again")
    header, dtype = 4 + 4 * data[3], np.dtype(_TYPES[data[2]])
    if dims == _IMAGE_DIMS and data[2] != _UINT8:
        raise InputError("does not hold unsigned bytes", item=path, remedy="write the pixels as unsigned bytes")
    if len(data) < header:
        raise InputError("ends inside its header", item=path, remedy="fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    if len(data) - header != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        cause = f"says it holds {shape} values and holds {len(data) - header} bytes"
        raise InputError(cause, item=path, remedy="fetch it again")
    if 0 in shape:
        raise InputError(f"holds nothing: its dimensions are {shape}", item=path, remedy="fetch it again")
    if len(shape) == 4 and shape[3] not in _CHANNELS:
        cause = f"has the dimensions {shape}, not images x height x width [x 1, 3 or 4]"
        raise InputError(cause, item=path, remedy="transpose it")
    return np.frombuffer(data, dtype=dtype, offset=header).reshape(shape)
