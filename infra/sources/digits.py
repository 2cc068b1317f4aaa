"""The 1,797 handwritten digits, 8x8 grey, that come with scikit-learn."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError
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
    # The file itself: importing scikit-learn takes seconds, in every worker.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("scikit-learn is not installed", item="prepare.kind digits", remedy="pip install scikit-learn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(gzip.decompress(path.read_bytes()).decode("ascii").splitlines(), delimiter=",")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", item=str(path), remedy="reinstall scikit-learn") from error
    counts, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    return np.rint(counts * (255 / _LARGEST_COUNT)).astype(np.uint8), labels.astype(np.int64)
