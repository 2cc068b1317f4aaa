"""The source of a data set in the form of MLflow, whose own reader of sources understands it."""

import json
from typing import NamedTuple

# The address of data that a package brings along: the function that loads it.
CODE = "code:"


class DataSource(NamedTuple):
    """A source of data.

    Attributes:
        kind: MLflow's name of its type.
        text: Its place, as the JSON of that type.
    """

    kind: str
    text: str


def data_source(uri: str) -> DataSource:
    """Return the source at an address: `code:FUNCTION`, s3://, http(s)://, or a path of the local file system."""
    if uri.startswith(CODE):
        return DataSource("code", json.dumps({"tags": {"mlflow.source.name": uri.removeprefix(CODE)}}))
    if uri.startswith(("http://", "https://")):
        return DataSource("http", json.dumps({"url": uri}))
    return DataSource("s3" if uri.startswith("s3://") else "local", json.dumps({"uri": uri}))
