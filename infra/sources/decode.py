"""Stored bytes to pixels: the formats and limits of an image, and the one rule that gives all images one shape."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from infra.errors import InputError, Term
from infra.sources.reading import MAX_PIXELS

_RULE = (
    "EXIF orientation applied; transparency over white; 16-bit grey divided by 257 and rounded; converted to L or RGB"
)
NO_RESIZE = "none"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
REPAIR = "remove or repair it"
_OTHER_SIZE = f"{Term.RESIZE_FILTER} can cut out a square and resize it"
_FORMATS = ("PNG", "JPEG", "WEBP")
_COLOUR_MODES = {1: "L", 3: "RGB"}


def fit_rule(resize_filter: str) -> str:
    """Return the rule of `fit` in words, for those who read the images."""
    if resize_filter == NO_RESIZE:
        return f"{_RULE}; images of another size refused"
    return f"{_RULE}; largest centred square cut out; resized with {resize_filter} where the size differs"


@contextmanager
def strictly() -> Iterator[None]:
    """Turn Pillow's warnings into errors; use it around many images, as it costs as much as decoding a small one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def decode(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a PNG, JPEG or WebP image, whole.

    Raises:
        InputError: If it has another format, is damaged, or has more pixels than allowed.
    """
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
        if image.width * image.height > max_pixels:
            raise InputError(f"has {image.width}x{image.height} pixels, over {max_pixels}", item=name)
        image.load()
    except UnidentifiedImageError as error:
        raise InputError("is not a PNG, JPEG or WebP image", item=name, remedy=REPAIR) from error
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise InputError(f"cannot be decoded ({error})", item=name, remedy=REPAIR) from error
    return image


def from_array(pixels: NDArray[np.uint8], name: str) -> Image.Image:
    """Return pixels [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] as an image.

    Raises:
        InputError: If they have another shape.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise InputError(f"has the shape {pixels.shape}, not height x width [x 1, 3 or 4]", item=name)
    return Image.fromarray(np.ascontiguousarray(pixels))


def fit(
    image: Image.Image, *, channels: int, size: int, name: str, resize_filter: str = "lanczos"
) -> NDArray[np.uint8]:
    """Turn a decoded image into uint8 pixels [channels, size, size] by the rule of `fit_rule`.

    Raises:
        InputError: If it cannot be converted, or has another size and nothing may resize it.
    """
    try:
        ImageOps.exif_transpose(image, in_place=True)
        square = _to_mode(image, _COLOUR_MODES[channels])
        side = min(square.size)
        if resize_filter == NO_RESIZE and square.size != (size, size):
            cause = f"has {square.width}x{square.height} pixels, not {size}x{size}"
            raise InputError(cause, item=name, remedy=_OTHER_SIZE)
        if square.width != square.height:
            left, top = (square.width - side) // 2, (square.height - side) // 2
            square = square.crop((left, top, left + side, top + side))
        if side != size:
            square = square.resize((size, size), FILTERS[resize_filter])
    except (MemoryError, InputError):
        raise
    except Exception as error:  # on broken EXIF data Pillow raises errors of any type
        raise InputError(f"cannot be converted ({error})", item=name, remedy=REPAIR) from error
    return np.asarray(square, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(np.rint(deep / 257), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
