"""Images in one .npz file, as guided-diffusion's evaluator and `numpy.load` read it.

The arrays are written into the archive piece by piece, because `numpy.savez` would hold all images in memory.
"""

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from flows.exchange.selection import Selection

# A fixed date, the earliest of the format, so that equal images give equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_npz(file: BinaryIO, selection: Selection, identity: bytes, on_images: Callable[[int], None]) -> None:
    """Write `arr_0`, the images uint8 [n, h, w, c], and `arr_1`, their labels int64 [n], if any has one; -1 if not.

    Args:
        file: An empty file, open for writing.
        selection: The images.
        identity: Kept in the archive's comment, from which `npz_identity` reads it.
        on_images: Receives the number of images after each piece.
    """
    labels = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = identity
        with _member(archive, "arr_0.npy") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (selection.count, *selection.shape)}
            np.lib.format.write_array_header_1_0(member, header)
            for batch in selection.batches():
                member.write(batch.images.data)
                labels.append(batch.labels)
                on_images(len(batch.labels))
        if selection.labelled:
            with _member(archive, "arr_1.npy") as member:
                np.lib.format.write_array(member, np.concatenate(labels).astype("<i8"), version=(1, 0))


def npz_identity(file: Path) -> bytes:
    """Return the comment of an archive; empty if it is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.comment
    except (zipfile.BadZipFile, OSError, ValueError):
        return b""


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    # As in numpy.savez: the size is not known when the header is written.
    with archive.open(zipfile.ZipInfo(name, _DATE), "w", force_zip64=True) as member:
        yield member
