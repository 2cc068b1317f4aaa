"""The source of a data set in the form of MLflow, whose own reader of sources understands it."""

import json
import re
from typing import NamedTuple

# The address of data that a package brings along: the function that loads it.
CODE = "code:"
# A data set of the Hugging Face Hub: repository, revision and path. Its form was checked when the source was opened.
_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/\w+/[^/]+|[^/]+))?(?:/(.+))?")
_FILES = re.compile(r"[*?\[]|\.\w+$")


class DataSource(NamedTuple):
    """A source of data.

    Attributes:
        kind: MLflow's name of its type.
        text: Its place, as the JSON of that type.
    """

    kind: str
    text: str


def data_source(uri: str) -> DataSource:
    """Return the source at an address: `code:FUNCTION`, hf://, s3://, http(s)://, or a path of the local disk."""
    if uri.startswith(CODE):
        return DataSource("code", json.dumps({"tags": {"mlflow.source.name": uri.removeprefix(CODE)}}))
    if uri.startswith(("http://", "https://")):
        return DataSource("http", json.dumps({"url": uri}))
    if hub := _HUB.fullmatch(uri):
        repository, revision, path = hub.groups()
        inside = {_inside(path): path} if path else {}
        return DataSource("hugging_face", json.dumps({"path": repository, "revision": revision} | inside))
    return DataSource("s3" if uri.startswith("s3://") else "local", json.dumps({"uri": uri}))


def _inside(path: str) -> str:
    """Return the name by which `datasets` knows a path in a repository: that of files or of a folder."""
    return "data_files" if _FILES.search(path) else "data_dir"
