"""The rows of a prepared data set."""

from pathlib import Path

import pyarrow.parquet as pq

from flows.artifacts import Dataset
from flows.stage import Context
from infra.digests import Json


def prepared_rows(dataset: Dataset, context: Context) -> dict[str, Json]:
    """Return the rows of all files of a data set below a local root, by the images' names."""
    manifest = dataset.manifest(context.store)
    root = Path(context.store.uri) / manifest.folder
    return {row["name"]: row for unit in manifest.units for row in pq.read_table(root / unit["file"]).to_pylist()}
