"""Pixels of any number type as 8 bits: which value becomes white, and what cannot be scaled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, Term

WHITE_OF_16_BITS = 65535
# Other types do not say which value is white: floats may reach 1 or 255, and wide integers hold anything.
_WHITES = {"bool": 1, "uint8": 255, "uint16": WHITE_OF_16_BITS}
_CHOOSE = f"set {Term.MAX_VALUE} to the brightest value there can be, such as 1, 255 or 4095"


def white_of(kind: np.dtype[Any], max_value: float, item: str) -> float:
    """Return the value that becomes white: the one chosen, else that of the type.

    Args:
        kind: The type of the pixels.
        max_value: The user's choice; 0 for none.
        item: Their name in an error.

    Raises:
        InputError: If they are no real numbers, or if nothing is chosen and the type does not say it.
    """
    if kind.kind not in "buif":
        raise InputError(f"holds {kind}, not numbers", item=item, remedy="save the pixels as numpy.uint8, 0 to 255")
    if not max_value and kind.name not in _WHITES:
        raise InputError(f"holds {kind}, which does not say what is white", item=item, remedy=_CHOOSE)
    return max_value or _WHITES[kind.name]


def to_eight_bits(pixels: NDArray[Any], white: float, item: str) -> NDArray[np.uint8]:
    """Scale pixels of any shape so that 0 stays 0 and `white` becomes 255; rounded, and clipped above it.

    Raises:
        InputError: If one is below 0 or not finite.
    """
    if pixels.dtype == np.uint8 and white == 255:
        return pixels
    deep = pixels.astype(np.float64)
    least, greatest = float(deep.min()), float(deep.max())
    if not (least >= 0 and np.isfinite(greatest)):
        cause = f"holds values from {least:g} to {greatest:g}, of which some are no brightness"
        raise InputError(cause, item=item, remedy="shift and scale them to begin at 0")
    return np.clip(np.rint(deep * (255 / white)), 0, 255).astype(np.uint8)
