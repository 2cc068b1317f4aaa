"""The formats of image files: the suffixes by which they are found, and the decoders that may open them."""

from typing import NamedTuple


class ImageFormat(NamedTuple):
    """A format of image files.

    Attributes:
        name: Its name, for people.
        decoder: Its name in Pillow.
        suffixes: The ends of its files' names, in lower case.
        note: What is taken of such a file, if that is not plain; empty otherwise.
    """

    name: str
    decoder: str
    suffixes: tuple[str, ...]
    note: str = ""


# Each has a signature, so the content decides which decoder opens a file, and never its name. Formats without one
# (TGA), those that other programs decode (EPS, WMF) and those that Pillow cannot read (HEIC, SVG) are not here.
IMAGE_FORMATS = (
    ImageFormat("PNG", "PNG", (".png", ".apng"), "first frame of an animation"),
    ImageFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"), "first picture of several"),
    ImageFormat("WebP", "WEBP", (".webp",), "first frame of an animation"),
    ImageFormat("AVIF", "AVIF", (".avif",), "first frame of an animation"),
    ImageFormat("BMP", "BMP", (".bmp", ".dib")),
    ImageFormat(
        "TIFF", "TIFF", (".tif", ".tiff"), "first page; up to 8 bits per colour, up to 16 bits of grey, floats"
    ),
    ImageFormat("GIF", "GIF", (".gif",), "first frame of an animation"),
    ImageFormat("PNM", "PPM", (".ppm", ".pgm", ".pbm", ".pnm"), "the value of white is that of the file"),
    ImageFormat("JPEG 2000", "JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf")),
)
SUFFIXES = frozenset(suffix for one in IMAGE_FORMATS for suffix in one.suffixes)
DECODERS = tuple(one.decoder for one in IMAGE_FORMATS)
FORMAT_NAMES = ", ".join(one.name for one in IMAGE_FORMATS)
