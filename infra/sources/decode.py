"""Stored bytes to images of 8 bits: the decoders, their limits, and what they warn of."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infra.errors import InputError, Term
from infra.sources.image_formats import DECODERS, FORMAT_NAMES
from infra.sources.levels import WHITE_OF_16_BITS, to_eight_bits, white_of
from infra.sources.png_chunks import without_metadata
from infra.sources.reading import BY_RULE, Reading

REPAIR = "remove or repair it"
SEVERAL_FRAMES = "several frames, of which the first is taken"
# Where an image's `info` has the value that became white, if a setting could name another one.
WHITE = "white"
DAMAGED_METADATA = "metadata that cannot be read"
_OF_METADATA = re.compile(r"EXIF|ICC|XMP|[Mm]etadata|^Tag |Skipping tag|MPO|APNG|not enough data", re.IGNORECASE)
_LONGEST_WARNING = 80
# Damage of a directory of tags. In a TIFF file it is the image's own, elsewhere only that of the EXIF data.
_CUT_DIRECTORY = "Corrupt EXIF data"
_TIFF_STARTS = (b"II", b"MM")
# Of 16 bits per colour Pillow keeps the upper 8.
_DEEP_COLOUR = re.compile(r"(LA|RGB|RGBA|RGBX|CMYK)(;16.*)")
_TWELVE_BITS = "I;12"


class Warned:
    """The warnings of decoders about images whose pixels are whole."""

    def __init__(self, messages: list[warnings.WarningMessage]) -> None:
        self._messages = messages

    def kinds(self) -> Sequence[str]:
        """Return each kind of warning since the last call, once."""
        if not self._messages:
            return ()
        found = dict.fromkeys(_warning_kind(str(one.message)) for one in self._messages)
        self._messages.clear()
        return tuple(found)


@contextmanager
def decoding() -> Iterator[Warned]:
    """Collect warnings instead of showing them, and lift Pillow's own limit, because `max_pixels` takes its place.

    Use it around many images, as it costs as much as decoding a small one.
    """
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)  # about this code, not about an image
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield Warned(messages)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode(content: bytes, name: str, reading: Reading = BY_RULE) -> Image.Image:
    """Decode an image of one of the known formats, whole, the first frame of several; grey has 8 bits.

    Raises:
        InputError: If it has another format, is damaged, has more pixels than allowed, or its white is not known.
    """
    try:
        image, stored, has_several = _loaded(content, name, reading)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # on damaged data Pillow raises errors of any type
        image, stored, has_several = _loaded_without_metadata(content, name, reading, error)
    if has_several:
        warnings.warn(SEVERAL_FRAMES, stacklevel=2)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image, stored, reading.max_value, name)
    if reading.max_value and (deep := _DEEP_COLOUR.fullmatch(stored)):
        cause = f"has 16 bits per colour ({deep[0]}), of which only the upper 8 are read, so no other white fits"
        raise InputError(cause, item=name, remedy=f"save it with 8 bits, or leave {Term.MAX_VALUE} at 0")
    return image


def _loaded(content: bytes, name: str, reading: Reading) -> tuple[Image.Image, str, bool]:
    """Return an image with its pixels, their form in the file, and whether it has several frames."""
    image = _opened(content)
    if image.width * image.height > reading.max_pixels:
        cause = f"has {image.width}x{image.height} pixels, over {reading.max_pixels}"
        remedy = f"raise {Term.MAX_PIXELS} to {image.width * image.height}, or remove it"
        raise InputError(cause, item=name, remedy=remedy)
    has_several = getattr(image, "is_animated", False)
    stored = _stored_as(image)
    image.load()
    return image, stored, has_several


def _loaded_without_metadata(
    content: bytes, name: str, reading: Reading, error: Exception
) -> tuple[Image.Image, str, bool]:
    """Load an image whose decoding failed once more if it is a PNG, without its metadata; else raise the failure."""
    if (less := without_metadata(content)) != content:
        try:
            loaded = _loaded(less, name, reading)
        except (MemoryError, InputError):
            raise
        except Exception as again:  # its pixels are damaged too
            error = again
        else:
            warnings.warn(f"{DAMAGED_METADATA} ({error})", stacklevel=3)
            return loaded
    if isinstance(error, UnidentifiedImageError):
        cause = f"is no image of the formats {FORMAT_NAMES}" if content else "is empty"
        raise InputError(cause, item=name, remedy="remove it, or convert it to PNG") from error
    raise InputError(f"cannot be decoded ({error})", item=name, remedy=REPAIR) from error


def from_array(pixels: NDArray[Any], name: str, max_value: float = 0.0) -> Image.Image:
    """Return pixels [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] as an image of 8 bits.

    Args:
        pixels: Numbers of any type; 0 is black.
        name: Their name in an error.
        max_value: The value that becomes 255; 0 for that of the type.

    Raises:
        InputError: If they have another shape, or cannot be scaled.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise InputError(f"has the shape {pixels.shape}, not height x width [x 1, 3 or 4]", item=name, remedy=REPAIR)
    white = white_of(pixels.dtype, max_value, name)
    image = Image.fromarray(np.ascontiguousarray(to_eight_bits(pixels, white, name)))
    image.info[WHITE] = white
    return image


def _opened(content: bytes) -> Image.Image:
    if not content.startswith(_TIFF_STARTS):
        return Image.open(BytesIO(content), formats=DECODERS)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_CUT_DIRECTORY)
        return Image.open(BytesIO(content), formats=DECODERS)


def _stored_as(image: Image.Image) -> str:
    """Return Pillow's name of the pixels' form in the file, which loading them forgets; empty if it names none."""
    tiles = getattr(image, "tile", None)
    found = tiles[0].args if tiles else ""
    found = found[0] if isinstance(found, tuple) and found else found
    return found if isinstance(found, str) else ""


def _from_deep(image: Image.Image, stored: str, max_value: float, name: str) -> Image.Image:
    """Return grey of more than 8 bits as grey of 8 bits."""
    pixels = np.asarray(image)
    is_stated = image.format == "PPM" and image.mode == "I"
    if is_stated:
        white: float = WHITE_OF_16_BITS  # Pillow scaled it by the white that the file states
    elif stored == _TWELVE_BITS:
        white = max_value or 4095
    else:
        white = white_of(pixels.dtype, max_value, name)
    grey = Image.fromarray(to_eight_bits(pixels, white, name))
    # The orientation is still to be applied; a transparent value would be one of 16 bits.
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    if not is_stated:
        grey.info[WHITE] = white
    return grey


def _warning_kind(message: str) -> str:
    """Return the kind of a warning: with the numbers of one image in it, each would be a kind of its own."""
    if message == SEVERAL_FRAMES:
        return message
    if _OF_METADATA.search(message):
        return DAMAGED_METADATA
    return re.sub(r"[0-9]+", "N", message)[:_LONGEST_WARNING]
