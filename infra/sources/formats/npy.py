"""The .npy format: a header, then numbers; never a pickle, because a pickle runs code."""

import tokenize
import warnings
from dataclasses import dataclass
from math import prod
from typing import IO

import numpy as np
from numpy.lib import format as npy

from infra.errors import InputError
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES

HEADER_BYTES = 1 << 14
_AS_UINT8 = "save the pixels as numpy.uint8, 0 to 255"
_HEADER_ERRORS = (
    ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The header of a .npy, and its length in bytes."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    length: int


def read_header(stream: IO[bytes], item: str) -> Header:
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
    return Header(dtype, shape, stream.tell())


def check_images(header: Header, size: int, item: str) -> None:
    """Refuse an array that does not hold images.

    Args:
        header: The header of the array.
        size: The bytes of the file or member, with the header.
        item: Its name in an error.

    Raises:
        InputError: If it is not uint8 [n, h, w] or [n, h, w, 1, 3 or 4], or has another size than its header says.
    """
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
