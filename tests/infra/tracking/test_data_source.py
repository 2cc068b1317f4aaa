"""MLflow's own reader understands the source of each data set."""

from typing import Any

import pytest
from mlflow.data import get_source
from mlflow.entities import Dataset

from infra.tracking.data_source import data_source


@pytest.mark.parametrize(
    ("uri", "kind", "fields"),
    [
        ("/data/photos", "local", {"uri": "/data/photos"}),
        ('/data/a "b"/\\c', "local", {"uri": '/data/a "b"/\\c'}),
        ("s3://bucket/photos/", "s3", {"uri": "s3://bucket/photos/"}),
        ("https://host/images.zip", "http", {"url": "https://host/images.zip"}),
        ("code:sklearn.datasets.load_digits", "code", {"tags": {"mlflow.source.name": "sklearn.datasets.load_digits"}}),
    ],
)
def test_mlflow_reads_it_back(uri: str, kind: str, fields: dict[str, Any]) -> None:
    found = data_source(uri)
    source = get_source(Dataset(name="x", digest="d", source_type=found.kind, source=found.text))
    assert source._get_source_type() == kind
    assert source.to_dict() == fields
