"""The rows of a comparison as CSV."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from flows.comparison.table import COLUMNS


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV with a header; numbers keep every digit, lists are JSON, and None is an empty cell."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | tuple | bool) else value
