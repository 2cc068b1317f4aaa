"""Labels in a .npy: whole numbers, also as floats, true or false, words, or one-hot rows."""

from io import BytesIO
from math import prod

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.formats.npy import read_header

_MAX_LABEL_CHARS = 256
_CHOICES = f"set {Term.LABELS}=none to train without classes"


def label_texts(data: bytes, count: int, item: str, column: int | None = None) -> tuple[list[str], str]:
    """Return the labels in the bytes of a .npy, and why they are no classes, which is empty if they are.

    Args:
        data: The bytes.
        count: The number of images; there is a label or a row of labels for each.
        item: The name in an error.
        column: The one column to take of rows of labels, from 0; None to read the rows as one-hot.

    Raises:
        InputError: If it is damaged, or has another number of labels or no such column.
    """
    header = read_header(BytesIO(data), item)
    if header.dtype.kind not in "biufSU":
        raise InputError(f"holds {header.dtype}, not numbers or text", item=item, remedy="save integers")
    if header.shape[:1] != (count,) or len(header.shape) > 2:
        raise InputError(f"has the shape {header.shape}, and there are {count} images", item=item, remedy=_CHOICES)
    width = prod(header.shape[1:])
    if not width or header.length + count * width * header.dtype.itemsize != len(data) or not header.dtype.itemsize:
        raise InputError(f"says it holds {count * width} labels and holds other bytes", item=item, remedy=REPAIR)
    if header.dtype.kind in "SU" and width > 1:
        return [], "several labels per image"
    if header.dtype.kind in "SU":
        return _words(data[header.length :], header.dtype, item), ""
    values = np.frombuffer(data, dtype=header.dtype, offset=header.length).reshape(count, width)
    if column is not None and not 0 <= column < width:
        cause = f"has no column {column}: its columns are 0 to {width - 1}"
        raise InputError(cause, item=item, remedy=f"set {Term.LABELS}=column:NUMBER to one of these")
    return _numbers(values if column is None else values[:, column : column + 1])


def _numbers(values: NDArray[np.generic]) -> tuple[list[str], str]:
    """The labels in an array [n, k]: the number of each row, or the place of the one in it."""
    if values.shape[1] > 1:
        filled = values.astype(bool)
        if not bool((values == filled).all()) or not bool((filled.sum(axis=1) == 1).all()):
            return [], "several labels per image"
        return [str(place) for place in filled.argmax(axis=1).tolist()], ""
    column = values[:, 0]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in column.tolist()], ""
    if column.dtype.kind == "f":
        missing = np.isnan(column)
        if not bool((column[~missing] == np.trunc(column[~missing])).all()) or bool(np.isinf(column).any()):
            return [], "fractions"
        return ["" if value != value else str(int(value)) for value in column.tolist()], ""
    return [str(value) for value in column.tolist()], ""


def _words(body: bytes, kind: np.dtype[np.generic], item: str) -> list[str]:
    # NumPy would return invalid code points, which Python then cannot encode.
    coding = "utf-8" if kind.kind == "S" else "utf-32-be" if kind.byteorder == ">" else "utf-32-le"
    try:
        cells = (body[place : place + kind.itemsize] for place in range(0, len(body), kind.itemsize))
        texts = [cell.decode(coding).rstrip("\0") for cell in cells]
    except ValueError as error:
        raise InputError("holds text that is not Unicode", item=item, remedy="save integers") from error
    if max(map(len, texts)) > _MAX_LABEL_CHARS:
        raise InputError(f"holds a label of over {_MAX_LABEL_CHARS} characters", item=item, remedy="save integers")
    return texts
