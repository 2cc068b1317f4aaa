"""A sealed output of images, as a run has them, without a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flows.exchange.choices import ExportSplit
from flows.exchange.selection import Selection
from infra.outputs.images import DatasetReader, Images, encode_images
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store

# Images per file, and those of them that count: the last file holds more than the goal.
ROWS = ((5, 5), (5, 5), (5, 3))


def noise(count: int, channels: int = 1, size: int = 8, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def sealed(
    root: Path,
    channels: int = 1,
    *,
    labelled: bool = True,
    rows: tuple[tuple[int, int], ...] = ROWS,
    size: int = 8,
    images: Images | None = None,
) -> tuple[Images, DatasetReader]:
    """Seal images in several files; return those that count, and their reader. Image i has the label i % 3.

    The images are noise unless some are given, as many as the rows of all files.
    """
    store = open_store(str(root))
    store.make()
    settings = {"channels": channels, "labelled": labelled, "rows": [list(pair) for pair in rows], "size": size}
    output = Output(store=store, plan=Plan(stage="sample", format_version=1, settings=settings, inputs={}))
    output.begin({})
    images = noise(sum(in_file for in_file, _ in rows), channels, size) if images is None else images
    units: list[dict[str, Any]] = []
    first = 0
    for number, (in_file, counted) in enumerate(rows):
        ids = np.arange(first, first + in_file)
        columns = {"label": pa.array(ids % 3, type=pa.int32())} if labelled else {}
        data = encode_images(images[ids], first, columns, {})
        record = output.commit(f"units/{number:06d}", "parquet", data, {"first_id": first, "split": "samples"})
        units.append({"unit": number, "rows": counted, **record.as_json()})
        first += in_file
    reader = DatasetReader(store=store, manifest=output.seal({}, units, {}))
    return images[: sum(counted for _, counted in rows)], reader


def selected(reader: DatasetReader, **changes: Any) -> Selection:
    """All images of a sealed output, in classes that have names."""
    given: dict[str, Any] = {"split": ExportSplit.SAMPLES, "class_names": ("a", "b", "c,d")}
    return Selection(reader=reader, **(given | changes))
