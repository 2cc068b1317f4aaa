"""One image as the bytes of a PNG file."""

from io import BytesIO

from PIL import Image

from infra.outputs.images import Images

# The last chunk of every whole PNG file: no data, its name, its checksum.
END = b"\0\0\0\0IEND\xaeB`\x82"


def encode_png(image: Images) -> bytes:
    """Write pixels uint8 [h, w, 1, 3 or 4] without loss; equal pixels give equal bytes under one version of Pillow."""
    buffer = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
