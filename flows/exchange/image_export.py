"""Images of a run as PNG files, a tar file or an .npz file; whole or not at all, and never over something else."""

import os
from collections.abc import Callable
from pathlib import Path

from flows.exchange.choices import ExportFormat
from flows.exchange.files import check_free, local_path, translated
from flows.exchange.npz_file import npz_identity, write_npz
from flows.exchange.partial import partial_file, partial_folder
from flows.exchange.png_folder import IDENTITY, folder_identity, whole_images, write_pngs, write_renamed
from flows.exchange.selection import Selection
from flows.exchange.tar_file import tar_identity, write_tar
from flows.stage import Progress
from infra.digests import canonical_json
from infra.errors import ConfigError

# Raised if the same images become other bytes, so that no old half is continued.
FORMAT_VERSION = 1
_FILES = {ExportFormat.NPZ: (write_npz, npz_identity), ExportFormat.TAR: (write_tar, tar_identity)}


def export_images(
    selection: Selection, to: ExportFormat, destination: str, on_progress: Callable[[Progress], None]
) -> str:
    """Write images in a format of other programs.

    A folder of PNG files is continued after an interruption: its whole files are kept in a hidden folder beside the
    destination. A tar or .npz file is begun anew.

    Args:
        selection: The images.
        to: A format of images.
        destination: The file or folder to make.
        on_progress: Receives the progress in images.

    Returns:
        A line on what is there.

    Raises:
        ConfigError: If the destination is not local, has another suffix than its format, or holds something else.
        ConflictError: If another export writes to it.
        IntegrityError: If an image differs from what was sealed.
    """
    target = local_path(destination)
    _check_suffix(target, to)
    identity = canonical_json({"format": f"ddpm-export-{to}", "version": FORMAT_VERSION, **selection.identity})
    line = _describe(selection)
    if os.path.lexists(target):
        found = folder_identity(target) if to is ExportFormat.PNG else _FILES[to][1](target)
        if found != identity:
            check_free(target)
        return f"{line}; already there, nothing was written"
    progress = _Count(selection.count, on_progress)
    with translated(target):
        if to is ExportFormat.PNG:
            _write_folder(target, selection, identity, progress)
        else:
            progress.begin()
            with partial_file(target) as file:
                _FILES[to][0](file, selection, identity, progress)
    return line


class _Count:
    """Counts images and reports them; each call adds some."""

    def __init__(self, total: int, on_progress: Callable[[Progress], None]) -> None:
        self._total, self._start, self._done, self._report = total, 0, 0, on_progress
        self._kept = False

    def begin(self, whole: int = 0, *, kept: bool = False) -> None:
        """Report the start: the images that are there, and whether an interruption keeps the new ones."""
        self._start, self._done, self._kept = whole, whole, kept
        self(0)

    def __call__(self, images: int) -> None:
        self._done += images
        kept = self._done if self._kept else 0
        self._report(Progress(done=self._done, total=self._total, start=self._start, kept=kept))


def _write_folder(target: Path, selection: Selection, identity: bytes, progress: _Count) -> None:
    with partial_folder(target) as folder:
        if folder_identity(folder) != identity:
            _clear(folder)
            write_renamed(folder / IDENTITY, identity)
        names = {f"{selection.name(number)}.png" for number in range(selection.count)}
        whole = whole_images(folder) & names
        progress.begin(len(whole), kept=True)
        write_pngs(folder, selection, whole, progress)


def _clear(folder: Path) -> None:
    """Remove the files of another export that was not finished; any other file is the user's."""
    files = sorted(folder.iterdir())
    begun = all(file.name == f"{IDENTITY}.part" for file in files)
    if not begun and b"ddpm-export" not in folder_identity(folder):
        raise ConfigError("holds files of someone else", item=str(folder), remedy="remove it, or choose another name")
    for file in files:
        if file.name != IDENTITY:  # the last to go, because it says that the others are ours
            file.unlink()


def _check_suffix(target: Path, to: ExportFormat) -> None:
    """Refuse a file name by which readers would not know the format."""
    if to in _FILES and target.suffix != f".{to}":
        raise ConfigError(f"does not end in .{to}", item=str(target), remedy=f"name the file {target.name}.{to}")


def _describe(selection: Selection) -> str:
    height, width, channels = selection.shape
    split = {"samples": "samples", "train": "training images", "test": "held-out images"}[selection.split]
    labels = "labelled" if selection.labelled else "no labels"
    return f"{selection.count:,} {split}, {height}x{width}, {channels} channel{'s' * (channels > 1)}, {labels}"
