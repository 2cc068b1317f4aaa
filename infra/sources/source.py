"""What a source of images is, and the one rule by which its images become pixels of one shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from infra.errors import InputError, IntegrityError
from infra.store import sha256

FIT_RULE = (
    "EXIF orientation applied; transparency over white; 16-bit grey divided by 257 and rounded; converted to "
    "L or RGB; largest centred square cut out; resized with Lanczos where the size differs"
)
NO_LABEL = -1
_COLOUR_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a source.

    Attributes:
        name: Where it is in the source.
        digest: sha256 of its content as stored.
        split: `train` or `test` where the source gives them, else empty.
        label: Index into the class names, or NO_LABEL.
    """

    name: str
    digest: str
    split: str = ""
    label: int = NO_LABEL


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All images of a source, in its order."""

    items: list[Item]
    class_names: list[str]


class Source(Protocol):
    """Where images come from; sent to the workers, so it holds settings and no images."""

    def list(self) -> Listing:
        """Find every image."""

    def reader(self) -> Callable[[Item], Image.Image]:
        """Return the function that decodes one image.

        It raises InputError where an image cannot be decoded, IntegrityError where it is not what was listed.
        """


def check_listed(content: bytes, item: Item, where: str) -> None:
    """Raise IntegrityError if an image's content is not what was listed."""
    if sha256(content) != item.digest:
        raise IntegrityError("changed since it was listed", item=where, remedy="run again")


def fit(image: Image.Image, *, channels: int, size: int, name: str) -> NDArray[np.uint8]:
    """Turn a decoded image into uint8 pixels [channels, size, size] by FIT_RULE."""
    try:
        oriented = ImageOps.exif_transpose(image)
        flat = _to_mode(oriented, _COLOUR_MODES[channels])
        side = min(flat.size)
        left, top = (flat.width - side) // 2, (flat.height - side) // 2
        square = flat.crop((left, top, left + side, top + side))
        if side != size:
            square = square.resize((size, size), Image.Resampling.LANCZOS)
    except MemoryError:
        raise
    except Exception as error:  # of broken EXIF data Pillow raises whatever it stumbles over
        raise InputError(f"cannot be converted ({error})", item=name, remedy="remove or repair the file") from error
    return np.asarray(square, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(np.rint(deep / 257), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)
