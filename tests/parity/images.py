"""The images that every program measures: digits, and crops of two photographs, all of which come with scikit-learn.

The samples differ from the reference: half of the digits have noise, and the crops have fewer colours.
"""

import gzip
import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]  # [n, h, w, c], c 1 or 3
Sides = Mapping[str, Images]  # "samples" and "reference"

# Number of samples and of reference images.
_DIGITS = (24, 30)
_SMALL, _LARGE = (10, 12), (8, 10)


def collections() -> dict[str, Sides]:
    """Return the collections by name: 8x8 grey, 32x32 in colour, and in colour larger than the network's 299x299."""
    return {"digits": _digits(), "small": _crops(32, 32, *_SMALL), "large": _crops(331, 401, *_LARGE)}


def digest(sides: Sides) -> str:
    """The sha256 of the shapes and pixels of both sides."""
    found = hashlib.sha256()
    for side, images in sorted(sides.items()):
        found.update(f"{side} {list(images.shape)}\n".encode())
        found.update(np.ascontiguousarray(images).tobytes())
    return found.hexdigest()


def write(sides: Sides, folder: Path) -> None:
    """Write each side to a folder of its name as PNG, so that the order of the names is that of the images."""
    for side, images in sides.items():
        (folder / side).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
                folder / side / f"{number:04}.png"
            )


def _data(name: str) -> Path:
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "datasets" / name


def _digits() -> Sides:
    rows = np.loadtxt(gzip.decompress(_data("data/digits.csv.gz").read_bytes()).decode().splitlines(), delimiter=",")
    counts = rows[:, :64].astype(np.int64).reshape(-1, 8, 8, 1)  # of 0..16
    images = (counts * 255 + 8) // 16
    samples, reference = _DIGITS
    made = images[reference : reference + samples].copy()
    noise = np.random.RandomState(1).randint(-80, 81, size=made[::2].shape)
    made[::2] = (made[::2] + noise).clip(0, 255)
    return {"samples": made.astype(np.uint8), "reference": images[:reference].astype(np.uint8)}


def _crops(high: int, wide: int, samples: int, reference: int) -> Sides:
    photographs = [np.asarray(Image.open(_data(f"images/{name}.jpg"))) for name in ("china", "flower")]
    stream = np.random.RandomState(2)

    def crop(number: int) -> Images:
        photograph = photographs[number % 2]
        top, left = (
            stream.randint(have - need + 1) for have, need in zip(photograph.shape, (high, wide), strict=False)
        )
        return photograph[top : top + high, left : left + wide]

    real = np.stack([crop(number) for number in range(reference)])
    made = np.stack([crop(number) for number in range(samples)])
    return {"samples": made // 48 * 48 + 24, "reference": real}
