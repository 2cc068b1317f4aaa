"""A file that seeks, made of reads of ranges."""

import io
import os
from collections.abc import Callable


class RangeFile(io.RawIOBase):
    """What `fetch` gives, as a file to read here and there; each read is one call.

    Args:
        fetch: Takes where to begin and how many bytes, at least one and never beyond `size`.
        size: Bytes in all.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._place = fetch, size, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, at least 0, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any buffer, but slices are needed
        """Fill a buffer as far as the file goes, and return how far."""
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        data = self._fetch(self._place, length)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
