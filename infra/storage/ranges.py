"""A seekable file on top of a function that reads ranges of bytes."""

import io
import os
from collections.abc import Callable


class RangeFile(io.RawIOBase):
    """A read-only seekable file whose bytes come from `fetch`; each read is one call.

    Args:
        fetch: Receives a start and a number of bytes, at least one and never beyond `size`; returns those bytes.
        size: Length of the file in bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._place = fetch, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, at least 0, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # because it needs slices
        """Fill a buffer up to the end of the file, and return the number of bytes."""
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        data = self._fetch(self._place, length)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
