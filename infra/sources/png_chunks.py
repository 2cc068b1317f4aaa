"""A PNG without the chunks that say nothing of its pixels, for a decoder that fails on one of them."""

import struct
from zlib import crc32

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME_BYTES = 12
# Transparency belongs to the pixels, so its damage is theirs. EXIF data may say how the image is turned.
_OF_PIXELS, _TURN = b"tRNS", b"eXIf"


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
    is_critical = not kind[0] >> 5 & 1
    return is_critical or kind == _OF_PIXELS or (kind == _TURN and _is_whole(checked))


def _is_whole(checked: memoryview) -> bool:
    return crc32(checked[:-4]) == int.from_bytes(checked[-4:], "big")
