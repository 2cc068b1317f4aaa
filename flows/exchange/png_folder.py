"""Images as a flat folder of PNG files, with their labels beside them.

Programs that compute an FID read every image of the folder. `metadata.csv` is the file in which the Hugging Face
`imagefolder` loader looks for labels.
"""

import csv
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from flows.exchange.png import END, encode_png
from flows.exchange.selection import Selection

IDENTITY, LABELS = "export.json", "metadata.csv"


def whole_images(folder: Path) -> set[str]:
    """Return the names of the PNG files in a folder that were written to their end."""
    return {file.name for file in folder.glob("*.png") if _is_whole(file)}


def write_pngs(folder: Path, selection: Selection, whole: set[str], on_images: Callable[[int], None]) -> None:
    """Write the images that are missing, then the table of their labels if they have any.

    Args:
        folder: The folder.
        selection: The images.
        whole: Names of the files to keep.
        on_images: Receives the number of new images after each file.
    """
    table = StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file_name", "label", *(["class_name"] if selection.class_names else [])])
    for batch in selection.batches():
        for number, (image, label) in enumerate(zip(batch.images, batch.labels, strict=True), start=batch.first):
            name = f"{selection.name(number)}.png"
            rows.writerow([name, *_label_cells(int(label), selection.class_names)])
            if name not in whole:
                write_renamed(folder / name, encode_png(image))
                on_images(1)  # each file is kept, whatever happens to the next
    if selection.labelled:
        write_renamed(folder / LABELS, table.getvalue().encode())


def _label_cells(label: int, class_names: tuple[str, ...]) -> list[str]:
    """The cells of an image's label; empty if it has none."""
    named = class_names[label : label + 1] if label >= 0 else class_names and ("",)
    return [str(label) if label >= 0 else "", *named]


def write_renamed(file: Path, content: bytes) -> None:
    """Write a file under another name first, so that a file with its final name is whole."""
    aside = file.with_name(f"{file.name}.part")
    aside.write_bytes(content)
    aside.replace(file)


def folder_identity(folder: Path) -> bytes:
    """Return the identity in a folder; empty if there is none."""
    try:
        return (folder / IDENTITY).read_bytes()
    except OSError:
        return b""


def _is_whole(file: Path) -> bool:
    """Look for the last chunk, because after a loss of power a file may have its name but not its bytes."""
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - len(END), 0))
        return opened.read() == END
