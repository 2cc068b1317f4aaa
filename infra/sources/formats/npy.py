"""The .npy format: a header, then numbers; never a pickle, because a pickle runs code."""

import tokenize
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import IO

import numpy as np
from numpy.lib import format as npy

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES
from infra.sources.levels import white_of

HEADER_BYTES = 1 << 14
# The types that pixels may have, by the number that an entry stores; 0 is uint8. A new one comes last.
_TYPE_CODES = "u1 ? <u2 >u2 <u4 >u4 <u8 >u8 i1 <i2 >i2 <i4 >i4 <i8 >i8 <f2 >f2 <f4 >f4 <f8 >f8"
_WIDE_TYPES = ("u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8")
PIXEL_TYPES = tuple(map(np.dtype, ("u1", "?", "i1", *(order + code for code in _WIDE_TYPES for order in "<>"))))
_CHANNELS = (1, 3, 4)
_OTHERS = f"remove it, or set {Term.SOURCE} to the other files"
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


def check_images(header: Header, size: int, max_value: float, item: str) -> None:
    """Refuse an array that does not hold images.

    Args:
        header: The header of the array.
        size: The bytes of the file or member, with the header.
        max_value: The value that becomes white; 0 for that of the type.
        item: Its name in an error.

    Raises:
        InputError: If it is not [n, h, w], [n, h, w, c] or [n, c, h, w] with 1, 3 or 4 channels, of numbers whose white
            is known, or has another size than its header says.
    """
    shape = header.shape
    white_of(header.dtype, max_value, item)
    if header.dtype not in PIXEL_TYPES:
        raise InputError(f"holds {header.dtype}, not numbers of up to 64 bits", item=item, remedy=_AS_UINT8)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in _CHANNELS and not channels_first(shape[1:])):
        cause = f"has the shape {shape}, not images x height x width [x 1, 3 or 4]"
        remedy = "save x.reshape(n, height, width[, channels])" if len(shape) < 3 else "transpose it or pick channels"
        raise InputError(cause, item=item, remedy=remedy)
    if min(shape) < 1:
        raise InputError(f"holds nothing: its shape is {shape}", item=item, remedy=_OTHERS)
    width = header.dtype.itemsize
    if header.length + prod(shape) * width != size:
        cause = f"says it holds {shape} numbers of {width} bytes and holds {size - header.length} bytes"
        raise InputError(cause, item=item, remedy=REPAIR)
    if len(shape) == 3 and shape[2] in _CHANNELS and shape[2] < min(shape[:2]):
        cause = f"has the shape {shape}: one image, or {shape[0]} grey ones of {shape[1]}x{shape[2]}"
        raise InputError(cause, item=item, remedy="save images x height x width x channels")
    if prod(shape[1:]) * width > MAX_BYTES:
        raise InputError(f"holds images larger than {MAX_BYTES >> 20} MiB", item=item, remedy=_OTHERS)


def channels_first(shape: Sequence[int]) -> bool:
    """Tell whether the shape of one image is [1, 3 or 4, h, w]: its last number is no number of channels."""
    return len(shape) == 3 and shape[0] in _CHANNELS and shape[2] not in _CHANNELS
