"""MLflow's own reader understands the source of each data set."""

from typing import Any

import pytest
from mlflow.data import get_source
from mlflow.entities import Dataset

from infra.tracking.data_source import data_source

# MLflow's fields of a data set of the Hub that names nothing else; it writes the split as a text.
HUB = {"config_name": None, "data_dir": None, "data_files": None, "split": "None"}


@pytest.mark.parametrize(
    ("uri", "kind", "fields"),
    [
        ("/data/photos", "local", {"uri": "/data/photos"}),
        ('/data/a "b"/\\c', "local", {"uri": '/data/a "b"/\\c'}),
        ("s3://bucket/photos/", "s3", {"uri": "s3://bucket/photos/"}),
        ("https://host/images.zip", "http", {"url": "https://host/images.zip"}),
        ("code:sklearn.datasets.load_digits", "code", {"tags": {"mlflow.source.name": "sklearn.datasets.load_digits"}}),
        ("hf://datasets/a/b", "hugging_face", HUB | {"path": "a/b", "revision": None}),
        (
            "hf://datasets/a/b@v1/data/train",
            "hugging_face",
            HUB | {"path": "a/b", "revision": "v1", "data_dir": "data/train"},
        ),
        (
            "hf://datasets/a/b/data/*.parquet",
            "hugging_face",
            HUB | {"path": "a/b", "revision": None, "data_files": "data/*.parquet"},
        ),
        (
            "hf://datasets/a/b@refs/convert/parquet/x",
            "hugging_face",
            HUB | {"path": "a/b", "revision": "refs/convert/parquet", "data_dir": "x"},
        ),
        ("hf://datasets/a/b/x.zip", "hugging_face", HUB | {"path": "a/b", "revision": None, "data_files": "x.zip"}),
    ],
)
def test_mlflow_reads_it_back(uri: str, kind: str, fields: dict[str, Any]) -> None:
    found = data_source(uri)
    source = get_source(Dataset(name="x", digest="d", source_type=found.kind, source=found.text))
    assert source._get_source_type() == kind
    assert source.to_dict() == fields
