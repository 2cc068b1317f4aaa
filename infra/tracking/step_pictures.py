"""Pictures by step, as files with the names by which MLflow's pages put them on a slider.

MLflow's own `log_image` draws a part of the name at random, so a repeated delivery would be there twice. Here that part
follows from the picture.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from uuid import UUID

from PIL import Image

from infra.digests import sha256
from infra.record import Picture

FOLDER = "images"
# The longer side of the small copy that the pages show first.
_PREVIEW = 256
_UUID_DIGITS = 32


def picture_files(pictures: Sequence[Picture]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file below `FOLDER`: a picture, and its small copy."""
    for picture in pictures:
        unique = UUID(sha256(picture.png)[:_UUID_DIGITS])
        name = picture.name.replace("/", "~")
        stem = f"{name}+step+{picture.step}+timestamp+{picture.time_ms}+{unique}"
        yield f"{stem}.png", picture.png
        yield f"{stem}+compressed.webp", _preview(picture.png)


def _preview(png: bytes) -> bytes:
    image, buffer = Image.open(BytesIO(png)), BytesIO()
    image.thumbnail((_PREVIEW, _PREVIEW))
    image.save(buffer, format="WEBP")
    return buffer.getvalue()
