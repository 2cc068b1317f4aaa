"""MATLAB files of images and labels, such as those of SVHN's cropped digits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

import numpy as np
from PIL import Image

from infra.errors import InputError, Term
from infra.sources.decode import from_array
from infra.sources.files.file import MAX_BYTES, File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.array_labels import COLUMN, column_number, no_classes, number_labels
from infra.sources.formats.array_names import IMAGES, LABELS, array_name
from infra.sources.formats.mat import MatFile, Variable
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found, NoClasses, Other

_CHANNELS = (1, 3, 4)
_SVHN = (32, 32, 3)
_TEN = frozenset(map(str, range(1, 11)))


@dataclass(frozen=True)
class MatSource:
    """Every .mat file with uint8 images [h, w, n] or [h, w, 1, 3 or 4, n], and with their labels if it has any.

    The names of the variables say what they are, by the words that `ArraySource` knows: X and y, images and labels.
    Labels are a vector, or one row or column per image. Splits are those of the folders, or of a file's name. In SVHN
    the label 10 stands for the digit 0.

    Attributes:
        files: The files.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, in the order of the files' names, reading only headers and labels."""
        for file in self.files.find():
            if not is_of_kind("mat", self.files, file):
                yield Other(file.name)
                continue
            path = self.files.path(file.name)
            with self.files.open(file) as opened:
                mat = MatFile(opened, file.size, path)
                variables = list(mat.variables())
                images = _images(variables, path)
                labels, trouble = self._labels(mat, variables, images, path)
            yield from trouble
            yield from self._entries(file, images, labels)

    def _labels(
        self, mat: MatFile, variables: list[Variable], images: Variable, path: str
    ) -> tuple[list[str], list[NoClasses]]:
        """The labels of the images, empty if there are none that count, and a remark if they are no classes."""
        picked = self.reading.picked
        chosen = [one for one in variables if one.name == picked]
        if not chosen and not COLUMN.fullmatch(picked or "0"):
            cause = f"has no variable {picked}: its variables of numbers are {_shapes(variables)}"
            raise InputError(cause, item=path, remedy=f"set {Term.LABELS}=key:NAME to one of these")
        called = chosen or [one for one in variables if array_name(one.name).role == LABELS and one is not images]
        if not called or not (self.reading.own_labels or picked):
            return [], []
        count = images.shape[-1]
        fitting = [one for one in called if _fits(one, count)]
        if len(fitting) != 1:
            fault = "several variables of labels" if fitting else f"no variable of {count} labels"
            cause = f"{path.rpartition('/')[2]}: {fault} ({_shapes(fitting or called)})"
            return [], [NoClasses(cause, "key:NAME" if fitting else "")]
        return _texts(mat, images, fitting[0], "" if chosen else picked, path)

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

    def _entries(self, file: File, images: Variable, labels: list[str]) -> Iterator[Entry]:
        for number in range(images.shape[-1]):
            yield Entry(
                name=f"{file.name}/{number:06d}",
                file=file.name,
                size=file.size,
                stamp=file.stamp,
                at=(number, images.place, *images.shape[:-1]),
                label=labels[number] if labels else "",
                folder=file.name.rpartition("/")[0],
                label_from="labels in MATLAB files",
            )


def _shapes(variables: list[Variable]) -> str:
    """Some variables with their shapes, for an error."""
    return ", ".join(f"{one.name} {list(one.shape)}" for one in variables[:8]) or "none"


def _images(variables: list[Variable], path: str) -> Variable:
    """The variable of images."""
    called = [one for one in variables if array_name(one.name).role == IMAGES]
    images = called or [one for one in variables if len(one.shape) > 2]
    if len(images) != 1:
        cause = f"holds {'several' if images else 'no'} images: its variables of numbers are {_shapes(variables)}"
        raise InputError(cause, item=path, remedy="save the images as X and their labels as y")
    shape = images[0].shape
    if images[0].dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[2] not in _CHANNELS):
        cause = f"holds {images[0].name} {list(shape)} of {images[0].dtype}, not uint8 height x width [x channels] x n"
        raise InputError(cause, item=path, remedy="in MATLAB: X = uint8(permute(X, [2 3 4 1]))")
    if min(shape) < 1 or prod(shape[:-1]) > MAX_BYTES:
        raise InputError(f"holds images of the shape {list(shape)}", item=path, remedy="save them anew")
    return images[0]


def _fits(labels: Variable, count: int) -> bool:
    """Whether a variable has a label, a row or a column per image."""
    return prod(labels.shape) == count or (len(labels.shape) == 2 and count in labels.shape and min(labels.shape) > 0)


def _texts(
    mat: MatFile, images: Variable, labels: Variable, picked: str, path: str
) -> tuple[list[str], list[NoClasses]]:
    """The labels in a variable, and a remark if they are no classes."""
    count, item = images.shape[-1], f"{path}[{labels.name}]"
    values = mat.numbers(labels).reshape(labels.shape, order="F")
    is_vector = values.size == count
    rows = values.reshape(count, 1) if is_vector else values if labels.shape[0] == count else values.T
    column = column_number(picked, item)
    texts, trouble = number_labels(rows, item, column)
    if images.shape[:-1] == _SVHN and is_vector and "10" in texts and _TEN.issuperset(texts):
        texts = ["0" if text == "10" else text for text in texts]
    return texts, list(no_classes(item.rpartition("/")[2], trouble, column))
