"""A PNG without the chunks that say nothing of its pixels, for a decoder that fails on one of them."""

import struct
from operator import ne
from zlib import crc32

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME_BYTES = 12
# EXIF data may say how the image is turned.
_TURN = b"eXIf"
_OF_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")


def without_metadata(content: bytes) -> bytes:
    """Return a PNG without its ancillary chunks but tRNS and whole EXIF data; other bytes as they are."""
    if not content.startswith(_SIGNATURE):
        return content
    kept: list[bytes | memoryview] = [_SIGNATURE]
    place, view = len(_SIGNATURE), memoryview(content)
    while place + _FRAME_BYTES <= len(content):
        length, kind = struct.unpack_from(">L4s", content, place)
        end = place + _FRAME_BYTES + length
        if end > len(content) or not kind.isalpha():
            break
        if _is_kept(kind, view[place + 4 : end]):
            kept.append(view[place:end])
        place = end
    return b"".join([*kept, view[place:]])


def _is_kept(kind: bytes, checked: memoryview) -> bool:
    """Tell whether a chunk is kept, from its kind and from its kind, data and checksum."""
    if kind == _TURN:
        return _is_whole(checked)
    # A kind of another letter may be one of the pixels that was damaged, so its damage is theirs.
    like_pixels = any(sum(map(ne, kind, other)) <= 1 for other in _OF_PIXELS)
    return like_pixels or not kind[0] >> 5 & 1


def _is_whole(checked: memoryview) -> bool:
    return crc32(checked[:-4]) == int.from_bytes(checked[-4:], "big")
