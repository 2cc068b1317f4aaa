"""Labels in a .npy: numbers as in `infra.sources.formats.array_labels`, or words."""

from io import BytesIO
from math import prod

import numpy as np

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.formats.array_labels import SEVERAL, number_labels, one_column
from infra.sources.formats.npy import read_header

_MAX_LABEL_CHARS = 256
_NO_CLASSES = f"set {Term.LABELS}=none to train without classes"
_SAVE = f"save integers, or {_NO_CLASSES}"


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
        raise InputError(f"holds {header.dtype}, not numbers or text", item=item, remedy=_SAVE)
    if header.shape[:1] != (count,) or len(header.shape) > 2:
        raise InputError(f"has the shape {header.shape}, and there are {count} images", item=item, remedy=_NO_CLASSES)
    width = prod(header.shape[1:])
    if not width or header.length + count * width * header.dtype.itemsize != len(data) or not header.dtype.itemsize:
        raise InputError(
            f"says it holds {count * width} labels and holds other bytes",
            item=item,
            remedy=f"{REPAIR}, or {_NO_CLASSES}",
        )
    values = np.frombuffer(data, dtype=header.dtype, offset=header.length).reshape(count, width)
    if header.dtype.kind not in "SU":
        return number_labels(values, item, column)
    values = one_column(values, item, column)
    return ([], SEVERAL) if values.shape[1] > 1 else (_words(values.tobytes(), header.dtype, item), "")


def _words(body: bytes, kind: np.dtype[np.generic], item: str) -> list[str]:
    # NumPy would return invalid code points, which Python then cannot encode.
    coding = "utf-8" if kind.kind == "S" else "utf-32-be" if kind.byteorder == ">" else "utf-32-le"
    try:
        cells = (body[place : place + kind.itemsize] for place in range(0, len(body), kind.itemsize))
        texts = [cell.decode(coding).rstrip("\0") for cell in cells]
    except ValueError as error:
        raise InputError("holds text that is not Unicode", item=item, remedy=_SAVE) from error
    if max(map(len, texts)) > _MAX_LABEL_CHARS:
        raise InputError(f"holds a label of over {_MAX_LABEL_CHARS} characters", item=item, remedy=_SAVE)
    return texts
