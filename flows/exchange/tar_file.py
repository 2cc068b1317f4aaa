"""Images in one tar file, named as WebDataset names the parts of a sample: 000000.png and its label, 000000.cls."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from flows.exchange.png import encode_png
from flows.exchange.selection import Selection

# An archive ends with two blocks of zeros.
_END_BLOCKS = 2


def write_tar(file: BinaryIO, selection: Selection, identity: bytes, on_images: Callable[[int], None]) -> None:
    """Write the images and, if they have labels, their numbers; no time and no owner is in it.

    Args:
        file: An empty file, open for writing.
        selection: The images.
        identity: Kept in the archive's global header, from which `tar_identity` reads it.
        on_images: Receives the number of images after each piece.
    """
    file.write(tarfile.TarInfo.create_pax_global_header({"comment": identity.decode()}))
    for batch in selection.batches():
        for number, (image, label) in enumerate(zip(batch.images, batch.labels, strict=True), start=batch.first):
            name = selection.name(number)
            _write_member(file, f"{name}.png", encode_png(image))
            if label >= 0:
                _write_member(file, f"{name}.cls", str(label).encode())
        on_images(len(batch.labels))
    file.write(bytes(_END_BLOCKS * tarfile.BLOCKSIZE))


def tar_identity(file: Path) -> bytes:
    """Return the comment of an archive; empty if it is none."""
    try:
        with tarfile.open(file, "r:") as archive:
            return str(archive.pax_headers.get("comment", "")).encode()
    except (tarfile.TarError, OSError, ValueError):
        return b""


def _write_member(file: BinaryIO, name: str, content: bytes) -> None:
    """Write a header and a content; `tarfile.TarFile` would keep a record of every member in memory."""
    member = tarfile.TarInfo(name)  # its time and its owner are 0
    member.size = len(content)
    file.write(member.tobuf(tarfile.USTAR_FORMAT))
    file.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
