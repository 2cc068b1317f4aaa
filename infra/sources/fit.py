"""Images to pixels of one shape: orientation, transparency, colour, and the size."""

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from infra.errors import InputError, Term
from infra.sources.decode import DAMAGED_METADATA, REPAIR
from infra.sources.shape import CROP, NO_RESIZE, PAD, STRETCH, Shape

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_OTHER_SIZE = f"{Term.RESIZE_FILTER} can cut it and resize it"
# By the value of the EXIF tag; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fit(image: Image.Image, shape: Shape, name: str) -> NDArray[np.uint8]:
    """Turn a decoded image into uint8 pixels [channels, height, width] by the shape's rule.

    Raises:
        InputError: If it cannot be converted, or has another size and nothing may resize it.
    """
    try:
        found = _to_mode(_upright(image), _MODES[shape.channels])
        fitted = WAYS[shape.way](found, shape, name)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # on broken data Pillow raises errors of any type
        raise InputError(f"cannot be converted ({error})", item=name, remedy=REPAIR) from error
    pixels = np.asarray(fitted, dtype=np.uint8)
    return pixels.reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """Return the image as its EXIF orientation says; broken EXIF data leaves it as it is stored, with a warning."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of broken EXIF data Pillow raises whatever it stumbles over
        warnings.warn(DAMAGED_METADATA, stacklevel=2)
        return image
    return image if turn is None else image.transpose(turn)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "RGBA" and image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _cropped(image: Image.Image, shape: Shape, name: str) -> Image.Image:
    """Cut out the largest centred part of the shape's aspect ratio, and resize that."""
    _check_size(image, shape, name)
    width, height = image.size
    if width * shape.height > height * shape.width:
        width = max((2 * height * shape.width + shape.height) // (2 * shape.height), 1)
    elif width * shape.height < height * shape.width:
        height = max((2 * width * shape.height + shape.width) // (2 * shape.width), 1)
    if image.size != (width, height):
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return _resized(image, (shape.width, shape.height), shape)


def _padded(image: Image.Image, shape: Shape, name: str) -> Image.Image:
    """Resize the image to fit inside, and put it onto the middle of black, which is transparent if there is opacity."""
    if shape.resize_filter == NO_RESIZE:
        if image.width > shape.width or image.height > shape.height:
            raise _misfit(image, shape, name)
    else:
        scale = min(shape.width / image.width, shape.height / image.height)
        inside = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = _resized(image, inside, shape)
    if image.size == (shape.width, shape.height):
        return image
    canvas = Image.new(image.mode, (shape.width, shape.height))
    canvas.paste(image, ((shape.width - image.width) // 2, (shape.height - image.height) // 2))
    return canvas


def _stretched(image: Image.Image, shape: Shape, name: str) -> Image.Image:
    _check_size(image, shape, name)
    return _resized(image, (shape.width, shape.height), shape)


def _resized(image: Image.Image, size: tuple[int, int], shape: Shape) -> Image.Image:
    return image if image.size == size else image.resize(size, FILTERS[shape.resize_filter])


def _check_size(image: Image.Image, shape: Shape, name: str) -> None:
    if shape.resize_filter == NO_RESIZE and image.size != (shape.width, shape.height):
        raise _misfit(image, shape, name)


def _misfit(image: Image.Image, shape: Shape, name: str) -> InputError:
    cause = f"has {image.width}x{image.height} pixels, not {shape.width}x{shape.height}"
    return InputError(cause, item=name, remedy=_OTHER_SIZE)


WAYS = {CROP: _cropped, PAD: _padded, STRETCH: _stretched}
