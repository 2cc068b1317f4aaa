"""The members of a zip archive, by its directory.

The reader is our own because Python's zipfile makes an object of every member before it reads one: ten million members
are gigabytes, and each worker would read the whole directory again for each of its units. Here the directory is read
once, in chunks, and an entry of the listing holds offset, sizes and checksum, so a unit reads its members directly.
Nothing is unpacked beyond the size that the directory gives, and overlapping members are refused as a bomb.
"""

import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES
from infra.sources.formats.members import REPACK, Member

# The first bytes of an archive: of a member, or of the end if it is empty.
ZIP_MARKS = (b"PK\3\4", b"PK\5\6")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_RECORD = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES = 0xFFFF
_CHUNK = 1 << 20
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x01 | 0x40
_UNIX, _WINDOWS = 3, (0, 10, 11)
_UTF8, _UNICODE_NAME = 0x800, b"\x75\x70"
# Windows packs by Deflate64 what is larger than 2 GiB.
_METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 99: "AES",
}  # fmt: skip
_UNPACK = f"pack it anew with deflate, or unpack it and set {Term.SOURCE} to the folder"


def zip_members(opened: BinaryIO, size: int, path: str, wants: Callable[[bytes, int], bool]) -> Iterator[Member]:
    """The files of a zip archive, by its directory.

    Args:
        opened: The archive.
        size: Its bytes.
        path: Its name in an error.
        wants: By name and size, whether a file's content is read along with its record.
    """
    start, length, shift = _directory(opened, size, path)
    packed = length
    for record, name, extra in _records(opened, start, length, path):
        _, made_by, _, flags, method, _, _, crc, packed_size, full_size, *_, mode, offset = record
        if not name.isascii() or b"\\" in name or _UNICODE_NAME in extra:
            name = _named(name, flags, extra, from_windows=made_by >> 8 in _WINDOWS)
        full_size, packed_size, offset = _widened(extra, full_size, packed_size, offset)
        packed += _LOCAL.size + packed_size
        if packed > size:
            raise InputError("is a bomb: its members overlap", item=path, remedy="remove it")
        if name.endswith(b"/"):
            continue
        at = (offset + shift, packed_size, full_size, crc, method, flags)
        kind = stat.S_IFMT(mode >> 16) if made_by >> 8 == _UNIX else 0
        text = None
        if kind in (0, stat.S_IFREG) and wants(name, full_size):
            text = member_content(opened, at, f"{path}!{name.decode('utf-8', 'backslashreplace')}")
        yield Member(name, at, is_file=kind in (0, stat.S_IFREG), text=text)


def _directory(opened: BinaryIO, size: int, path: str) -> tuple[int, int, int]:
    """The place of the directory, its length, and the number to add to every offset."""
    opened.seek(max(size - _END.size - _MAX_COMMENT_BYTES, 0))
    tail = opened.read(_END.size + _MAX_COMMENT_BYTES)
    # The end record ends with a comment that reaches to the end of the file; the comment may hold the same mark.
    found = tail.rfind(b"PK\5\6", 0, max(len(tail) - _END.size, 0) + 4)
    while found >= 0 and _END.unpack_from(tail, found)[-1] != len(tail) - found - _END.size:
        found = tail.rfind(b"PK\5\6", 0, found + 3)
    if found < 0:
        raise InputError("has no zip directory at its end; it may be cut short", item=path, remedy=REPACK)
    end = size - len(tail) + found
    _, disk, first_disk, _, _, length, offset, _ = _END.unpack_from(tail, found)
    opened.seek(max(end - _LOCATOR64.size, 0))
    mark, _, place64, _ = _LOCATOR64.unpack(opened.read(_LOCATOR64.size).ljust(_LOCATOR64.size))
    if mark == b"PK\6\7" and end >= _LOCATOR64.size:
        opened.seek(min(place64, size))
        record = opened.read(_END64.size).ljust(_END64.size)
        mark, _, _, _, disk, first_disk, _, _, length, offset = _END64.unpack(record)
        end = place64 if mark == b"PK\6\6" else -1
    start = end - length
    if start < offset or disk or first_disk:
        raise InputError("has a damaged zip directory", item=path, remedy=REPACK)
    return start, length, start - offset


def _records(opened: BinaryIO, start: int, length: int, path: str) -> Iterator[tuple[tuple[int, ...], bytes, bytes]]:
    """The records of the directory with name and extra field; little of the directory is in memory at a time."""
    held, used, place, end = b"", 0, start, start + length
    while place < end or used < len(held):
        if place < end and len(held) - used < 3 * _MAX_COMMENT_BYTES + _RECORD.size:
            opened.seek(place)
            held, used = held[used:] + opened.read(min(_CHUNK, end - place)), 0
            place = min(place + _CHUNK, end)
        body = used + _RECORD.size
        if len(held) < body or held[used : used + 4] != b"PK\1\2":
            raise InputError("has a damaged zip directory", item=path, remedy=REPACK)
        record = _RECORD.unpack_from(held, used)
        names, extras, comments = record[10:13]
        used = body + names + extras + comments
        if used > len(held):
            raise InputError("has a damaged zip directory", item=path, remedy=REPACK)
        yield record, held[body : body + names], held[body + names : body + names + extras]


def _named(name: bytes, flags: int, extra: bytes, *, from_windows: bool) -> bytes:
    """The name of a member in UTF-8, with slashes between its folders.

    Without a flag Windows writes names in code page 437, unless they are UTF-8 nonetheless, and some of its programs
    write backslashes.
    """
    for kind, field in _fields(extra) if _UNICODE_NAME in extra else ():
        if kind == int.from_bytes(_UNICODE_NAME, "little") and field[1:5] == struct.pack("<L", zlib.crc32(name)):
            name, flags = field[5:], flags | _UTF8
    if from_windows and not flags & _UTF8 and not name.isascii():
        try:
            name.decode()
        except UnicodeDecodeError:
            name = name.decode("cp437").encode()
    return name.replace(b"\\", b"/") if from_windows and b"/" not in name else name


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        yield kind, extra[4 : 4 + length]
        extra = extra[4 + length :]


def _widened(extra: bytes, *values: int) -> list[int]:
    """Size, packed size and offset; the zip64 field gives those that do not fit into 32 bits."""
    for kind, field in _fields(extra):
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            return [next(wide, value) if value == 0xFFFFFFFF else value for value in values]
    return list(values)


def member_content(opened: BinaryIO, at: tuple[int, ...], name: str) -> bytes:
    """The unpacked bytes of one member."""
    offset, packed_size, size, crc, method, flags = at
    if flags & _ENCRYPTED:
        raise InputError("is encrypted", item=name, remedy="pack it without a password")
    if method not in (_STORED, _DEFLATED):
        cause = f"is packed by {_METHODS.get(method, f'method {method}')}, not by deflate"
        raise InputError(cause, item=name, remedy=_UNPACK)
    if max(packed_size, size) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=name, remedy="remove it")
    opened.seek(offset)
    header = opened.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
        raise InputError("is not where the zip directory says", item=name, remedy=REPAIR)
    *_, names, extras = _LOCAL.unpack(header)
    opened.read(names + extras)
    data = opened.read(packed_size)
    if method == _DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        except zlib.error as error:
            raise InputError(f"cannot be unpacked ({error})", item=name, remedy=REPAIR) from error
    if len(data) != size or zlib.crc32(data) != crc:
        raise InputError("is damaged: its length or checksum is not as stated", item=name, remedy=REPAIR)
    return data
