"""The members of a tar archive, header by header.

The reader is our own because Python's tarfile trusts the archive. It loads an extended header whole, whatever size it
claims; it takes a damaged header for the end, so an archive that was cut short looks complete; and it keeps a record
of every member, which ten million of them would fill the memory with. Here headers are read one by one, every size is
bounded, and an archive has to end as the format says.
"""

import re
from collections.abc import Callable, Iterator

from infra.sources.formats.members import Member
from infra.sources.formats.tar_stream import TarStream

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MAX_EXTENDED_BYTES = 1 << 20
_REGULAR = frozenset(b"0\x007")
_NO_DATA = frozenset(b"123456")
_FOLDER, _SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS = b"5SLKxgX"
_ABOUT_NEXT = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS))
_INNER = b".tar"
_OCTAL = re.compile(rb"\s*([0-7]*)\s*")
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


def tar_members(
    stream: TarStream, wants: Callable[[bytes, int], bool], *, nested: bool = False
) -> Iterator[tuple[int, Member]]:
    """Read the members of a tar archive, without folders; nothing is extracted and no link is followed.

    Args:
        stream: The archive, from its beginning.
        wants: By name and size, whether a file's content is read along with its header.
        nested: Whether the members of a plain tar archive inside this one are read in its place; its name without the
            suffix is a folder around them. Archives inside that one are files like any other.

    Yields:
        The number of the member's header, counting all headers from 1, and the member.

    Raises:
        InputError: If the archive is damaged or cut short.
    """
    yield from _members(stream, wants, nested=nested)
    stream.finish()


def _members(
    stream: TarStream, wants: Callable[[bytes, int], bool], *, nested: bool = False, first: bytes = b""
) -> Iterator[tuple[int, Member]]:
    extended: dict[bytes, bytes] = {}
    for number, block in enumerate(_blocks(stream, first), start=1):
        name, size, kind = _header(block, stream)
        if kind in _ABOUT_NEXT:
            extended.update(_extended(kind, size, stream))
            continue
        if kind == _SPARSE:
            _skip_map(block, stream)
        size = _decimal(extended[b"size"], stream) if b"size" in extended else size
        name = extended.get(b"GNU.sparse.name") or extended.get(b"path") or name
        is_sparse = any(key.startswith(b"GNU.sparse") for key in extended)
        is_file, text = kind in _REGULAR and not is_sparse, None
        start, end = stream.place, stream.place + (0 if kind in _NO_DATA else _padded(size))
        first = stream.read(_BLOCK) if nested and is_file and size >= _BLOCK and _is_archive(name) else b""
        if is_inner := bool(first) and _is_header(first):
            yield from ((number, member) for member in _inner(stream, wants, name, first, start + size))
        elif is_file and not first and wants(name, size):
            text = stream.read(size)
        stream.skip_to(end)
        # Before there was a kind for folders, their names ended in a slash.
        if kind != _FOLDER and not (kind == 0 and name.endswith(b"/")) and not is_inner:
            yield number, Member(name, (start, size), is_file=is_file, text=text)
        extended = {}
    if extended:
        raise stream.fault("ends after an extended header")


def _is_archive(name: bytes) -> bool:
    """Tell whether a file is an archive by its name; a hidden one is the shadow that macOS makes of another file."""
    return name.lower().endswith(_INNER) and not name.rpartition(b"/")[2].startswith(b".")


def _inner(
    stream: TarStream, wants: Callable[[bytes, int], bool], name: bytes, first: bytes, end: int
) -> Iterator[Member]:
    """The members of an archive in an archive, as members of a folder of its name; its first block is read already."""
    folder = name[: -len(_INNER)]
    for _, member in _members(stream, wants, first=first):
        if stream.place > end:
            break
        yield member._replace(name=folder + b"/" + member.name)
    if stream.place > end:
        raise stream.fault("goes on beyond the end of an archive inside it")


def _blocks(stream: TarStream, first: bytes) -> Iterator[bytes]:
    """Every header block up to the end of the archive; the content after each is for the caller to read or skip."""
    block = first or stream.read(_BLOCK)
    while block != _ZEROS:
        yield block
        block = stream.read(_BLOCK)


def _extended(kind: int, size: int, stream: TarStream) -> dict[bytes, bytes]:
    """The fields of a header that describes the next member."""
    if size > _MAX_EXTENDED_BYTES:
        raise stream.fault(f"has an extended header of {size} bytes")
    data = stream.read(_padded(size))[:size]
    if kind == _LONG_NAME:
        return {b"path": data.split(b"\0", 1)[0]}
    return _pax(data, stream) if kind in (_PAX, _PAX_SOLARIS) else {}


def _skip_map(block: bytes, stream: TarStream) -> None:
    """Skip the rest of a sparse member's map; a byte in each block says whether another follows."""
    more = block[482]
    while more:
        more = stream.read(_BLOCK)[504]


def _header(block: bytes, stream: TarStream) -> tuple[bytes, int, int]:
    """Name, size and kind of the content that follows."""
    if not _is_header(block):
        raise stream.fault("has no tar header at a place that needs one")
    size = _number(block[124:136])
    if size is None:
        raise stream.fault("has a tar header with a bad size")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name, size, block[156]


def _is_header(block: bytes) -> bool:
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return _number(block[148:156]) == checksum


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:  # too large for octal digits
        return int.from_bytes(field[1:], "big")
    digits = _OCTAL.fullmatch(field.split(b"\0", 1)[0])
    return int(digits[1] or b"0", 8) if digits else None


def _pax(data: bytes, stream: TarStream) -> dict[bytes, bytes]:
    """The records of an extended header; each is its own length, a key and a value."""
    found, place = {}, 0
    while place < len(data):
        match = _PAX_RECORD.match(data, place)
        end = place + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise stream.fault("has a damaged extended header")
        found[match[2]] = data[match.end() : end - 1]
        place = end
    return found


def _decimal(digits: bytes, stream: TarStream) -> int:
    if not re.fullmatch(rb"\d{1,18}", digits):
        raise stream.fault("has an extended header with a bad size")
    return int(digits)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
