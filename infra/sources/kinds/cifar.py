"""CIFAR-10 and CIFAR-100 as published: the binary or the Python version, unpacked or in the .tar.gz."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR, from_array
from infra.sources.files.file import MAX_BYTES, File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.tar_members import tar_members
from infra.sources.formats.tar_stream import TarStream
from infra.sources.formats.unpickle import load
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Other

_BATCH = re.compile(r"(data_batch_\d{1,3}|test_batch|train|test)(\.bin)?")
_TEXT_NAMES = {"batches.meta.txt": 10, "fine_label_names.txt": 100}
_PICKLED_NAMES = {"batches.meta": (10, "label_names"), "meta": (100, "fine_label_names")}
_ARCHIVES = (".tar.gz", ".tgz")
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
# The published archives hold 10 and 7 members and unpack to 180 MB.
_MAX_MEMBERS = 1000
_MAX_UNPACKED = 1 << 30
_FETCH = "fetch the set again"


@dataclass(frozen=True)
class _SetFile:
    """A file of the set, by itself or within an archive.

    Attributes:
        file: The file of the set, or the archive that holds it.
        ordinal: The number of its header in the archive, from 1; 0 if it is no member of an archive.
        name: Its own name, without folders.
        label_of: The class of each record; empty if it holds no records.
        class_names: The names of classes; empty if it holds none.
    """

    file: File
    ordinal: int
    name: str
    label_of: bytes = b""
    class_names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Return the number of classes of the set, by the name of the file."""
        return 10 if "_batch" in self.name else 100


@dataclass(frozen=True)
class CifarSource:
    """A folder of CIFAR-10 or CIFAR-100, with its own test split and its names of classes, if it has them.

    Attributes:
        files: The files of the set.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of the batches' names; one batch at a time is in memory."""
        batches: dict[str, _SetFile] = {}
        class_names: tuple[str, ...] = ()
        for file in self.files.find():
            parts = list(self._set_files(file))
            if not parts:
                yield Other(file.name)
            for part in parts:
                stem, where = part.name.removesuffix(".bin"), self.files.path(part.file.name)
                if not _BATCH.fullmatch(part.name):
                    class_names = part.class_names
                elif stem in batches:
                    raise InputError(f"holds {part.name} once more", item=where, remedy="leave one version of the set")
                else:
                    batches[stem] = part
        self._check(list(batches.values()), class_names)
        for stem in sorted(batches, key=lambda stem: (len(stem), stem) if stem[0] == "d" else (99, stem)):
            yield from _entries(batches[stem], class_names, labelled=self.reading.own_labels)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one batch at a time is in memory."""
        for (name, ordinal), group in groupby(entries, key=lambda entry: (entry.file, entry.at[1])):
            same = list(group)
            pixels = self._load(File(name=name, size=same[0].size, stamp=same[0].stamp), ordinal)
            for entry in same:
                yield pixels[entry.at[0]].tobytes()

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(
            np.frombuffer(content, dtype=np.uint8).reshape(_SHAPE).transpose(1, 2, 0),
            entry.name,
            self.reading.max_value,
        )

    def _set_files(self, file: File) -> Iterator[_SetFile]:
        for ordinal, name, data in self._contents(file):
            item = f"{self.files.path(file.name)}[{name}]" if ordinal else self.files.path(file.name)
            if _BATCH.fullmatch(name):
                yield _SetFile(file, ordinal, name, label_of=_parse(name, data, item)[0].tobytes())
            else:
                names = _class_names(name, data, item) if self.reading.own_labels else ()
                yield _SetFile(file, ordinal, name, class_names=names)

    def _load(self, file: File, ordinal: int) -> NDArray[np.uint8]:
        for found, name, data in self._contents(file):
            if found == ordinal:
                return _parse(name, data, self.files.path(file.name))[1]
        raise InputError(f"has no member {ordinal}", item=self.files.path(file.name), remedy=REPAIR)

    def _contents(self, file: File) -> Iterator[tuple[int, str, bytes]]:
        """The parts of the set that a file is or holds: ordinal, own name, bytes."""
        name, path = PurePosixPath(file.name).name, self.files.path(file.name)
        if _is_part(name):
            yield 0, name, self.files.read(file)
        elif name.endswith(_ARCHIVES) or is_of_kind("cifar", self.files, file):
            with self.files.open(file) as opened:
                stream = TarStream(opened, file.size, path, remedy=_FETCH, limit=_MAX_UNPACKED)
                for ordinal, member in tar_members(stream, _wants):
                    if ordinal >= _MAX_MEMBERS:
                        cause = f"holds more than {_MAX_MEMBERS} members"
                        raise InputError(cause, item=path, remedy="name the archive of CIFAR")
                    if member.text is not None:
                        yield ordinal, _own_name(member.name), member.text

    def _check(self, batches: list[_SetFile], class_names: tuple[str, ...]) -> None:
        where = self.files.sources[0]
        if not batches:
            remedy = f"set {Term.SOURCE} to the folder of data_batch_1 or train, or of the .tar.gz"
            raise InputError("holds no batch of CIFAR", item=where, remedy=remedy)
        if len({part.classes for part in batches}) > 1:
            raise InputError("holds both CIFAR-10 and CIFAR-100", item=where, remedy="name the folder of one")
        there = {part.name.removesuffix(".bin") for part in batches}
        last = max((int(stem[11:]) for stem in there if stem.startswith("data")), default=1)
        whole = {10: [*(f"data_batch_{n}" for n in range(1, max(last, 5) + 1)), "test_batch"], 100: ["train", "test"]}
        missing = next((stem for stem in whole[batches[0].classes] if stem not in there), None)
        if missing is not None:
            raise InputError(f"has no {missing}", item=where, remedy=_FETCH)
        if class_names and len(class_names) != batches[0].classes:
            cause = f"holds {len(class_names)} names of classes and CIFAR-{batches[0].classes}"
            raise InputError(cause, item=where, remedy=_FETCH)


def _wants(name: bytes, size: int) -> bool:
    return size <= MAX_BYTES and _is_part(_own_name(name))


def _own_name(name: bytes) -> str:
    return PurePosixPath(name.decode("utf-8", "surrogateescape")).name


def _is_part(name: str) -> bool:
    return bool(_BATCH.fullmatch(name)) or name in _TEXT_NAMES or name in _PICKLED_NAMES


def _parse(name: str, data: bytes, item: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes [n] and pixels [n, 3072] of a batch."""
    classes = 10 if "_batch" in name else 100
    if name.endswith(".bin"):
        # CIFAR-100 has the coarse class before the fine one.
        before = 1 if classes == 10 else 2
        if not data or len(data) % (before + _PIXELS):
            cause = f"holds {len(data)} bytes, no multiple of {before + _PIXELS}"
            raise InputError(cause, item=item, remedy="fetch it again")
        records = np.frombuffer(data, dtype=np.uint8).reshape(-1, before + _PIXELS)
        labels, pixels = records[:, before - 1], records[:, before:]
    else:
        labels, pixels = _parse_pickle(data, "labels" if classes == 10 else "fine_labels", item)
    if int(labels.max()) >= classes:
        raise InputError(f"holds the class {labels.max()} of {classes}", item=item, remedy="fetch it again")
    return labels, pixels


def _parse_pickle(data: bytes, key: str, item: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    batch = load(data, item)
    pixels, labels = batch.get("data"), batch.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or not len(pixels):
        shape = getattr(pixels, "shape", "no array")
        raise InputError(f"has data of the shape {shape}, not images x {_PIXELS}", item=item, remedy="fetch it again")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise InputError(f"has no list of numbers called {key}", item=item, remedy="fetch it again")
    if len(labels) != len(pixels):
        cause = f"holds {len(pixels)} images and {len(labels)} labels"
        raise InputError(cause, item=item, remedy="fetch it again")
    return np.array(labels, dtype=np.uint8), pixels


def _class_names(name: str, data: bytes, item: str) -> tuple[str, ...]:
    if name in _TEXT_NAMES:
        names = [line.strip() for line in data.splitlines() if line.strip()]
    else:
        found = load(data, item).get(_PICKLED_NAMES[name][1])
        names = found if isinstance(found, list) else []
    try:
        texts = tuple(text.decode() if isinstance(text, bytes) else str(text) for text in names)
    except UnicodeDecodeError as error:
        raise InputError("holds names that are not UTF-8", item=item, remedy="fetch it again") from error
    if not texts or len(set(texts)) != len(texts) or any(not text.isprintable() or len(text) > 100 for text in texts):
        raise InputError("holds no list of the names of classes", item=item, remedy="fetch it again")
    return texts


def _entries(part: _SetFile, class_names: tuple[str, ...], *, labelled: bool) -> Iterator[Entry]:
    stem = part.name.removesuffix(".bin")
    for number, label in enumerate(part.label_of):
        name = class_names[label] if class_names else str(label)
        yield Entry(
            name=f"{stem}/{number:05d}",
            file=part.file.name,
            size=part.file.size,
            stamp=part.file.stamp,
            at=(number, part.ordinal),
            split="test" if stem.startswith("test") else "train",
            label=name if labelled else "",
            split_from="CIFAR's batches",
            label_from="CIFAR's own labels",
        )
