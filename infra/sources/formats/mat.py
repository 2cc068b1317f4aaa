"""MATLAB's format 5, as of `save` without -v7.3: the variables of a file, each packed or not.

The reader is our own because SciPy's unpacks a whole variable into memory, whatever size it claims, and knows no
objects on S3. MATLAB stores the first index next to each other, so with the images in the last dimension an image is
one run of bytes, and a unit reads its own images only.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR

_HEADER_BYTES = 128
_HDF5 = b"MATLAB 7.3"
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_NUMBERS = range(6, 16)
_MAX_NAME, _MAX_DIMS, _MAX_VARIABLES = 64, 8, 1000
_DEFLATE_RATIO = 1032
_MAX_READ = 64 << 20
_STEP = 1 << 20


@dataclass(frozen=True)
class Variable:
    """An array of numbers.

    Attributes:
        name: Its name.
        shape: Its dimensions; the first index varies fastest.
        dtype: The type in which its numbers are stored.
        place: The place of its element in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    place: int

    @property
    def size(self) -> int:
        """The number of bytes of its numbers."""
        return prod(self.shape) * self.dtype.itemsize


class MatFile:
    """The arrays of a file.

    Args:
        opened: The file.
        size: Its bytes.
        path: For error lines.

    Raises:
        InputError: If it is not in MATLAB's format 5.
    """

    def __init__(self, opened: BinaryIO, size: int, path: str) -> None:
        self._opened, self._size, self._path = opened, size, path
        opened.seek(0)
        header = opened.read(_HEADER_BYTES)
        if header.startswith(_HDF5):
            remedy = "save it without -v7.3: save(name, 'X', 'y', '-v7')"
            raise InputError("is in MATLAB's format 7.3, which is HDF5", item=path, remedy=remedy)
        self._order = {b"IM": "<", b"MI": ">"}.get(header[126:128], "")
        if not self._order:
            raise InputError("is not a MATLAB file of format 5", item=path, remedy=REPAIR)

    def variables(self) -> Iterator[Variable]:
        """Find every array of numbers, reading only headers."""
        place = _HEADER_BYTES
        for _ in range(_MAX_VARIABLES):
            if place + 8 > self._size:
                return
            self._opened.seek(place)
            kind, length = struct.unpack(f"{self._order}2I", self._opened.read(8))
            if length > self._size - place - 8:
                raise self._fault("ends too soon; it may be cut short")
            if kind in (_MATRIX, _COMPRESSED):
                stream = self._stream(place)
                if (found := self._header(stream, place)) is not None:
                    yield found
            place += 8 + length
        raise InputError(f"holds more than {_MAX_VARIABLES} variables", item=self._path, remedy=REPAIR)

    def numbers(self, variable: Variable) -> NDArray[np.generic]:
        """Return all numbers of a small array, flat and in their stored order.

        Raises:
            InputError: If it is too large.
        """
        if variable.size > _MAX_READ:
            cause = f"holds {variable.size} bytes of {variable.name}, over {_MAX_READ >> 20} MiB"
            remedy = f"save it as a vector of uint8, or set {Term.LABELS}=none to train without classes"
            raise InputError(cause, item=self._path, remedy=remedy)
        return np.frombuffer(next(self.chunks(variable, [0], variable.size)), dtype=variable.dtype)

    def chunks(self, variable: Variable, numbers: list[int], length: int) -> Iterator[bytes]:
        """Read some of the runs of equal length that an array consists of; forwards is fast."""
        stream, reached = self._stream(variable.place), -1
        self._header(stream, variable.place)
        start = stream.place
        for number in numbers:
            if number <= reached:
                stream = self._stream(variable.place)
            stream.skip_to(start + number * length)
            yield stream.read(length)
            reached = number
        stream.finish()

    def _stream(self, place: int) -> "_Element":
        return _Element(self._opened, place, self._order, self._path)

    def _header(self, stream: "_Element", place: int) -> Variable | None:
        """The variable whose element begins here; the stream then stands at its numbers."""
        if stream.tag()[0] != _MATRIX:
            return None
        flags, dims, name = stream.part(), stream.part(), stream.part()
        known = len(flags) == 8 and len(dims) <= 4 * _MAX_DIMS and 0 < len(name) <= _MAX_NAME
        if not known or flags[0 if self._order == "<" else 3] not in _NUMBERS:
            return None  # text, a struct, a cell or an object
        shape = struct.unpack(f"{self._order}{len(dims) // 4}i", dims[: len(dims) // 4 * 4])
        kind, length = stream.tag()
        if kind not in _TYPES or not shape or min(shape) < 0:
            return None
        found = Variable(name.decode("latin-1"), shape, np.dtype(f"{self._order}{_TYPES[kind]}"), place)
        if found.size != length or length > _DEFLATE_RATIO * self._size:
            raise self._fault(f"says that {found.name} holds {shape} values in {length} bytes")
        return found

    def _fault(self, cause: str) -> InputError:
        return InputError(cause, item=self._path, remedy=REPAIR)


class _Element:
    """The bytes of one element, unpacked and read forwards."""

    def __init__(self, opened: BinaryIO, place: int, order: str, path: str) -> None:
        self._opened, self._order, self._path, self.place = opened, order, path, 0
        opened.seek(place)
        kind, self._left = struct.unpack(f"{order}2I", opened.read(8))
        self._packed = zlib.decompressobj() if kind == _COMPRESSED else None
        if self._packed is None:
            opened.seek(place)
            self._left += 8

    def tag(self) -> tuple[int, int]:
        """The type and the length of the part that follows; a short part has them in four bytes."""
        word = struct.unpack(f"{self._order}I", self.read(4))[0]
        if word >> 16:
            return word & 0xFFFF, word >> 16
        return word, struct.unpack(f"{self._order}I", self.read(4))[0]

    def part(self) -> bytes:
        """The next part, with what fills it up to eight bytes left out."""
        before = self.place
        _, length = self.tag()
        if length > _STEP:
            raise self._fault("has a header of a false length")
        data, used = self.read(length), self.place - before
        self.read(-used % 8)
        return data

    def read(self, length: int) -> bytes:
        """Return the next bytes, exactly so many."""
        data = b""
        while len(data) < length and (more := self._some(length - len(data))):
            data += more
        if len(data) < length:
            raise self._fault("ends too soon; it may be cut short")
        return data

    def skip_to(self, place: int) -> None:
        """Go forwards to a place, counted in unpacked bytes of the element."""
        if self._packed is None:
            self._opened.seek(place - self.place, 1)
            self._left -= place - self.place
            self.place = place
        while self.place < place:
            self.read(min(_STEP, place - self.place))

    def finish(self) -> None:
        """Unpack the rest, because the checksum comes at the end."""
        while self._packed is not None and self._some(_STEP):
            pass

    def _some(self, length: int) -> bytes:
        if self._packed is None:
            data = self._opened.read(min(length, max(self._left, 0)))
            self._left -= len(data)
        else:
            data = self._unpacked(length)
        self.place += len(data)
        return data

    def _unpacked(self, length: int) -> bytes:
        assert self._packed is not None
        try:
            while not self._packed.eof:
                tail = self._packed.unconsumed_tail or self._opened.read(min(_STEP, self._left))
                self._left -= 0 if self._packed.unconsumed_tail else len(tail)
                if data := self._packed.decompress(tail, length):
                    return data
                if not tail:
                    break
        except zlib.error as error:
            raise self._fault(f"cannot be unpacked ({error})") from error
        return b""

    def _fault(self, cause: str) -> InputError:
        return InputError(cause, item=self._path, remedy=REPAIR)
