"""The 1,797 handwritten digits, 8x8 grey, that come with scikit-learn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.sources.source import Item, Listing, check_listed
from infra.store import sha256

# The data's pixels are counts of 0..16: 17 grey levels, spread over the 8-bit range.
_LARGEST_COUNT = 16


@dataclass(frozen=True)
class DigitsSource:
    """Pixels are round(count * 255 / 16), counts 0..16; the labels are the digits."""

    def list(self) -> Listing:
        """Find every image."""
        images, labels = _load()
        items = [
            Item(name=f"digits/{number:04d}", digest=sha256(image.tobytes()), label=int(label))
            for number, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        return Listing(items=items, class_names=[str(digit) for digit in range(10)])

    def reader(self) -> Callable[[Item], Image.Image]:
        """Return the function that decodes one image."""
        images, _ = _load()

        def read(item: Item) -> Image.Image:
            image = images[int(item.name.rsplit("/", 1)[1])]
            check_listed(image.tobytes(), item, item.name)
            return Image.fromarray(image)

        return read


def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images * (255 / _LARGEST_COUNT)).astype(np.uint8), digits.target
