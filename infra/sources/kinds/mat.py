"""MATLAB files of images and labels, such as those of SVHN's cropped digits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

import numpy as np
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import from_array
from infra.sources.files.file import MAX_BYTES, File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.array_names import IMAGES, LABELS, array_name
from infra.sources.formats.mat import MatFile, Variable
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Other

_CHANNELS = (1, 3, 4)
_SVHN = (32, 32, 3)


@dataclass(frozen=True)
class MatSource:
    """Every .mat file with uint8 images [h, w, n] or [h, w, 1, 3 or 4, n], and with their labels if it has any.

    The names of the variables say what they are, by the words that `ArraySource` knows: X and y, images and labels.
    Splits are those of the folders, or of a file's name. In SVHN the label 10 stands for the digit 0.

    Attributes:
        files: The files.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in the order of the files' names, reading only headers and labels."""
        for file in self.files.find():
            if not is_of_kind("mat", self.files, file):
                yield Other(file.name)
                continue
            path = self.files.path(file.name)
            with self.files.open(file) as opened:
                mat = MatFile(opened, file.size, path)
                images, labels = _roles(list(mat.variables()), path)
                yield from self._entries(
                    file, images, _texts(mat, images, labels, path) if labels and self.reading.own_labels else None
                )

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels; one image at a time is in memory."""
        for (name, place), group in groupby(entries, key=lambda entry: (entry.file, entry.at[1])):
            same = list(group)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            with self.files.open(file) as opened:
                mat, shape = MatFile(opened, file.size, self.files.path(name)), same[0].at[2:]
                images = Variable("", shape, np.dtype(np.uint8), place)
                yield from mat.chunks(images, [entry.at[0] for entry in same], prod(shape))
            self.files.open(file).close()  # fails if the file changed meanwhile

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        pixels = np.frombuffer(content, dtype=np.uint8).reshape(entry.at[2:], order="F")
        return from_array(pixels, entry.name, self.reading.max_value)

    def _entries(self, file: File, images: Variable, labels: list[str] | None) -> Iterator[Entry]:
        for number in range(images.shape[-1]):
            yield Entry(
                name=f"{file.name}/{number:06d}",
                file=file.name,
                size=file.size,
                stamp=file.stamp,
                at=(number, images.place, *images.shape[:-1]),
                label=labels[number] if labels is not None else "",
                folder=file.name.rpartition("/")[0],
                label_from="labels in MATLAB files",
            )


def _roles(variables: list[Variable], path: str) -> tuple[Variable, Variable | None]:
    """The variables of images and of labels."""
    names = ", ".join(f"{one.name} {list(one.shape)}" for one in variables[:8]) or "none"
    named = [one for one in variables if array_name(one.name).role == IMAGES]
    images = named or [one for one in variables if len(one.shape) > 2]
    if len(images) != 1:
        cause = f"holds {'several' if images else 'no'} images: its variables of numbers are {names}"
        raise InputError(cause, item=path, remedy="save the images as X and their labels as y")
    shape = images[0].shape
    if images[0].dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[2] not in _CHANNELS):
        cause = f"holds {images[0].name} {list(shape)} of {images[0].dtype}, not uint8 height x width [x channels] x n"
        raise InputError(cause, item=path, remedy="in MATLAB: X = uint8(permute(X, [2 3 4 1]))")
    if min(shape) < 1 or prod(shape[:-1]) > MAX_BYTES:
        raise InputError(f"holds images of the shape {list(shape)}", item=path, remedy="save them anew")
    labels = [one for one in variables if array_name(one.name).role == LABELS and prod(one.shape) == shape[-1]]
    return images[0], labels[0] if len(labels) == 1 else None


def _texts(mat: MatFile, images: Variable, labels: Variable, path: str) -> list[str]:
    values = mat.numbers(labels).astype(np.float64)
    if not np.array_equal(values, np.rint(values)):
        cause = f"holds labels {labels.name} that are no whole numbers"
        raise InputError(cause, item=path, remedy="save the labels as integers")
    whole = values.astype(np.int64)
    if images.shape[:-1] == _SVHN and whole.min() >= 1 and whole.max() == 10:
        whole %= 10
    return [str(value) for value in whole.tolist()]
