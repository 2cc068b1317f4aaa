"""The place of an image in an array, as the numbers of its entry store it."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from infra.sources.formats.npy import PIXEL_TYPES
from infra.sources.source import Entry


class ArrayPlace(NamedTuple):
    """The place of an image, as the numbers `at` of its entry store it.

    Attributes:
        number: Its number in the array.
        shape: [h, w] or [h, w, c].
        key: The index of the array's key in the archive; 0 for a file of one array.
        kind: The type of its pixels.
    """

    number: int
    shape: tuple[int, ...]
    key: int
    kind: np.dtype[Any]

    @classmethod
    def of(cls, entry: Entry) -> "ArrayPlace":
        """Return the place of an entry."""
        # A type other than uint8 comes last, as a number below 0.
        at, kind = (entry.at[:-1], -entry.at[-1]) if entry.at[-1] < 0 else (entry.at, 0)
        return cls(at[0], at[1:-1], at[-1], PIXEL_TYPES[kind])

    @property
    def stored(self) -> tuple[int, ...]:
        """The numbers that an entry stores."""
        kind = PIXEL_TYPES.index(self.kind)
        return (self.number, *self.shape, self.key, *((-kind,) if kind else ()))

    @property
    def bytes(self) -> int:
        """The bytes of the image."""
        return prod(self.shape) * self.kind.itemsize
