"""The formats of image files: suffixes by which they are found, signatures, and decoders that may open them."""

import re
from typing import NamedTuple


class ImageFormat(NamedTuple):
    """A format of image files.

    Attributes:
        name: Its name, for people.
        decoder: Its name in Pillow.
        suffixes: The ends of its files' names, in lower case.
        signature: What the first bytes of its files match.
        note: What is taken of such a file, if that is not plain; empty otherwise.
    """

    name: str
    decoder: str
    suffixes: tuple[str, ...]
    signature: bytes
    note: str = ""


# Each has a signature, so the content decides which decoder opens a file, and never its name. Formats without one
# (TGA), those that other programs decode (EPS, WMF) and those that Pillow cannot read (HEIC, SVG) are not here.
IMAGE_FORMATS = (
    ImageFormat("PNG", "PNG", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n", "first frame of an animation"),
    ImageFormat(
        "JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"), rb"\xff\xd8\xff", "first picture of several"
    ),
    ImageFormat("WebP", "WEBP", (".webp",), rb"RIFF.{4}WEBP", "first frame of an animation"),
    ImageFormat("AVIF", "AVIF", (".avif",), rb".{4}ftyp(avi[fs]|mif1)", "first frame of an animation"),
    ImageFormat("BMP", "BMP", (".bmp", ".dib"), rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ImageFormat(
        "TIFF",
        "TIFF",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        "first page; up to 8 bits per colour, up to 16 bits of grey, floats",
    ),
    ImageFormat("GIF", "GIF", (".gif",), rb"GIF8[79]a", "first frame of an animation"),
    ImageFormat(
        "PNM", "PPM", (".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6f]\s", "the value of white is that of the file"
    ),
    ImageFormat(
        "JPEG 2000", "JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf"), rb"\xff\x4f\xff\x51|\0{3}\x0cjP {2}\r\n\x87\n"
    ),
)
SUFFIXES = frozenset(suffix for one in IMAGE_FORMATS for suffix in one.suffixes)
DECODERS = tuple(one.decoder for one in IMAGE_FORMATS)
# The longest signature has so many bytes.
SIGNATURE_BYTES = 18
_SIGNATURES = re.compile(b"|".join(b"(?:%b)" % one.signature for one in IMAGE_FORMATS), re.DOTALL)
FORMAT_NAMES = ", ".join(one.name for one in IMAGE_FORMATS)


def begins_like_image(start: bytes) -> bool:
    """Tell whether the first `SIGNATURE_BYTES` of some content are those of an image of one of the formats."""
    return _SIGNATURES.match(start) is not None
