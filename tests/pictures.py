"""Images made up for tests, and their files' bytes."""

from io import BytesIO

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (8, 8)) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()
