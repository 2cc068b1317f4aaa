"""Archives made by hand, and what is found in them."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Entry, Other

END = bytes(1024)


def header(name: bytes, size: int | bytes = 0, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A tar header, with a good checksum whatever it says; a size in bytes is taken as it is."""
    block = bytearray(512)
    octal = size if isinstance(size, bytes) else b"%011o\0" % size
    for place, value in (100, b"0000644\0"), (124, octal), (156, kind), (157, link), (257, b"ustar\00000"):
        block[place : place + len(value)] = value
    block[: len(name)] = name
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, content: bytes = b"", kind: bytes = b"0") -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def listed(path: Path, data: bytes) -> list[Entry | Other]:
    path.write_bytes(data)
    files = FileSet((str(path),))
    return list((ZipSource(files) if path.suffix == ".zip" else TarSource(files)).find())


def zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def patched(data: bytes, mark: bytes, place: int, value: bytes) -> bytes:
    at = data.rindex(mark) + place
    return data[:at] + value + data[at + len(value) :]


def refused(path: Path, data: bytes, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        listed(path, data)
    line = str(caught.value)
    assert line.isprintable()
    assert path.name in line
    assert " - " in line
    assert len(line) < 400


GOOD = member(b"a.png", b"image")
ZIP = zipped(("a.png", b"image" * 99), ("b.png", b"image" * 99))
