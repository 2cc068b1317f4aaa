"""The decompressed bytes of a tar archive, read forwards and within bounds."""

import bz2
import gzip
import re
import zlib
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from infra.errors import InputError
from infra.sources.formats.members import REPACK

# The first bytes of compressed archives, which count whatever the archive is called.
GZIP, BZIP2 = b"\x1f\x8b", re.compile(rb"BZh[1-9]1AY&SY")
_MARK_BYTES = 10
_STEP = 1 << 20
# An archive that unpacks beyond both is not a set of images.
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 1000
_Result = TypeVar("_Result")


class TarStream:
    """The decompressed bytes of an archive, read forwards.

    Args:
        opened: The archive, from its beginning; its first bytes say how it is compressed.
        size: Its bytes as stored.
        path: For error lines.
        remedy: For error lines.
        limit: The most bytes that it may unpack to, if there is a limit.
    """

    def __init__(
        self, opened: BinaryIO, size: int, path: str, *, remedy: str = REPACK, limit: int | None = None
    ) -> None:
        self._raw, self._size, self._path, self._remedy, self._limit = opened, size, path, remedy, limit
        self._data: BinaryIO | gzip.GzipFile | bz2.BZ2File = opened
        self.place = 0
        mark = self._try(opened.read, _MARK_BYTES)
        self._try(opened.seek, 0)
        if mark.startswith(GZIP):
            self._data = gzip.GzipFile(fileobj=opened)
        elif BZIP2.match(mark):
            self._data = bz2.BZ2File(opened)

    def read(self, length: int) -> bytes:
        """Return the next bytes, exactly so many."""
        data = self._read(length)
        if len(data) < length:
            raise self.fault("ends too soon; it may be cut short")
        return data

    def skip_to(self, place: int) -> None:
        """Go forwards to a place, counted in decompressed bytes."""
        if self._limit is not None and place > self._limit:
            cause = f"unpacks to more than {self._limit >> 20} MiB"
            raise InputError(cause, item=self._path, remedy=self._remedy)
        if self._data is self._raw:
            if place > self._size:
                raise self.fault("ends too soon; it may be cut short")
            self._raw.seek(place)
            self.place = place
        while self.place < place:
            reached = self._try(self._data.seek, min(place, self.place + _STEP))
            if reached == self.place:
                raise self.fault("ends too soon; it may be cut short")
            self._advance(reached)

    def finish(self) -> None:
        """Make sure that only zeros follow."""
        while rest := self._read(_STEP):
            if rest.count(0) < len(rest):
                raise self.fault("goes on after its end")

    def fault(self, cause: str) -> InputError:
        """Return the error that names this place."""
        return InputError(cause, item=f"{self._path} at byte {self.place}", remedy=self._remedy)

    def _read(self, length: int) -> bytes:
        data = self._try(self._data.read, length)
        self._advance(self.place + len(data))
        return data

    def _advance(self, place: int) -> None:
        self.place = place
        if place > _BOMB_BYTES and self._data is not self._raw and place > _BOMB_RATIO * self._raw.tell():
            raise InputError(f"is a bomb: over {_BOMB_RATIO} times its size", item=self._path, remedy="remove it")

    def _try(self, act: Callable[[int], _Result], value: int) -> _Result:
        try:
            return act(value)
        except (OSError, EOFError, zlib.error) as error:
            raise self.fault(f"cannot be read ({error})") from error
