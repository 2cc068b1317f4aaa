"""The place of an image in an array survives in the numbers of its entry, for every type of pixels."""

import numpy as np
import pytest

from infra.sources.formats.array_place import ArrayPlace
from infra.sources.formats.npy import PIXEL_TYPES
from infra.sources.source import Entry


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("kind", PIXEL_TYPES, ids=str)
def test_it_is_what_was_stored(kind: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    place = ArrayPlace(9, shape, 2, kind)
    assert ArrayPlace.of(Entry(name="x", at=place.stored)) == place
    assert place.bytes == np.zeros(shape, kind).nbytes


def test_bytes_are_stored_as_ever() -> None:
    """Entries of uint8 keep their numbers, on which the keys of data sets depend."""
    assert ArrayPlace(9, (5, 7), 0, np.dtype("u1")).stored == (9, 5, 7, 0)
