"""The size of images: one number for squares, or height and width."""

from collections.abc import Sequence

# One number is the side of a square, so that settings of squares stay as they are.
ImageSize = int | tuple[int, int]


def image_size_of(height: int, width: int) -> ImageSize:
    """Return the size of images of this height and width."""
    return height if height == width else (height, width)


def image_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


def size_text(size: int | Sequence[int]) -> str:
    """Return the size as people write it, width first as image programs do: 32x32, or 48x32 of [32, 48]."""
    height, width = image_sides(size)
    return f"{width}x{height}"
