"""Files that label images by their names: dataset.json of StyleGAN and EDM, metadata.jsonl and .csv of Hugging Face.

`labels.csv` and its like are read in the same way as `metadata.csv`. `tables` reads other text tables.
"""

import csv
import io
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from itertools import chain

from infra.errors import InputError, Term
from infra.sources.source import Metadata

MAX_METADATA_BYTES = 64 << 20
FILE_COLUMNS = ("file_name", "filename", "file", "path", "image", "image_id", "id", "name")
LABEL_NAMES = ("label", "labels", "class", "category")
_NAME = re.compile(r"(dataset\.json|(metadata|labels)\.(jsonl|csv|tsv))", re.IGNORECASE)
# As pandas writes a column of whole numbers of which some are missing.
_WHOLE = re.compile(r"(-?[0-9]{1,18})\.0")
_OTHERWISE = f"set {Term.LABELS}=none or {Term.LABELS}=folder"
IGNORE = f"repair it, or {_OTHERWISE}"
_TOO_LARGE = f"split it by folders, or {_OTHERWISE}"
# So much of a file tells whether it has labels.
START_BYTES = 64 << 10
_COLUMNS_SHOWN = 10

# An image's name relative to the file's folder, and its stored label.
Row = tuple[str, object]


def own_name(name: str) -> str:
    """Return the part of a name after all folders and after the archive."""
    return name[max(name.rfind("/"), name.rfind("!")) + 1 :]


def may_be_metadata(name: str) -> bool:
    """Tell whether a file of that name may label the images around it."""
    return _NAME.fullmatch(own_name(name)) is not None


class LacksLabelsError(InputError):
    """A file of labels lacks the column or key that the user chose; another one may have it."""


def too_large(item: str) -> InputError:
    """Return the error of a file of labels of more than `MAX_METADATA_BYTES`."""
    return InputError(f"is larger than {MAX_METADATA_BYTES >> 20} MiB", item=item, remedy=_TOO_LARGE)


def shows_no_labels(file: Metadata) -> bool:
    """Tell whether the beginning of a file that cannot be read shows that it has no labels: a table names its columns.

    Args:
        file: The file.
    """
    start = file.content[:START_BYTES] if isinstance(file.content, bytes) else file.start
    first, name = start.decode("latin-1").partition("\n")[0].strip(), own_name(file.name).lower()
    if not may_be_metadata(name) or start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return False
    if not first or not first.replace("\t", " ").isprintable():
        return False
    if name == "dataset.json":
        return first.startswith("{") and '"labels"' not in start.decode("latin-1")
    if name.endswith("l"):
        return first.startswith("{") and not re.search(rf'"({"|".join(LABEL_NAMES)})"\s*:', first, re.IGNORECASE)
    return not {column.strip(' "').lower() for column in re.split("[,;\t]", first)}.intersection(LABEL_NAMES)


def metadata_rows(file: Metadata, picked: str) -> Iterator[Row] | None:
    """Return the rows of a file; None if it labels no images.

    Args:
        file: The file.
        picked: The column or key of the labels; if empty, the first that is called like labels.

    Raises:
        InputError: If it cannot be read.
        LacksLabelsError: If it lacks the column or key that was picked.
    """
    if isinstance(file.content, InputError):
        raise file.content
    try:
        text = file.content.decode("utf-8-sig")
        name = own_name(file.name).lower()
        if name == "dataset.json":
            return _of_dataset(file.name, json.loads(text), picked)
        lines = io.StringIO(text, newline="")
        return _of_table(file.name, _json_lines(lines) if name.endswith("l") else _csv_lines(lines), picked)
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", item=file.name, remedy=IGNORE) from error


def _of_dataset(name: str, content: object, picked: str) -> Iterator[Row] | None:
    """The pairs of dataset.json: {"labels": [[file name, label], ...]}, or an object instead of the list."""
    key = picked or "labels"
    if not isinstance(content, dict) or (picked and picked not in content):
        if not picked:
            return None
        raise _lacks(name, picked, content if isinstance(content, dict) else ())
    pairs = content.get(key)
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if not pairs:
        return None
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise InputError(f"has {key} that are no pairs of a file name and a label", item=name, remedy=IGNORE)
    return ((file_name, label) for file_name, label in pairs)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)


def _of_table(name: str, lines: Iterator[dict[str, object]], picked: str) -> Iterator[Row] | None:
    """The rows of a table; its first line tells which columns there are."""
    first = next(lines, None)
    if first is None:
        return None
    names = {str(column).strip().lower(): column for column in first}
    file_column = next((names[column] for column in FILE_COLUMNS if column in names), None)
    label_column = picked or next((names[column] for column in LABEL_NAMES if column in names), None)
    if picked and picked not in first:
        raise _lacks(name, picked, first)
    if file_column is None or label_column is None:
        return None
    return _rows(name, first, lines, file_column, label_column)


def _rows(
    name: str, first: dict[str, object], rest: Iterator[dict[str, object]], file_column: str, label_column: str
) -> Iterator[Row]:
    try:
        for number, line in enumerate(chain([first], rest), start=1):
            yield _row(name, number, line, file_column, label_column)
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", item=name, remedy=IGNORE) from error


def _row(name: str, number: int, line: dict[str, object], file_column: str, label_column: str) -> Row:
    file_name = line.get(file_column)
    if not isinstance(file_name, str | int) or not str(file_name):
        raise InputError(f"has no {file_column} in row {number}", item=name, remedy=IGNORE)
    return str(file_name), line.get(label_column)


def _csv_lines(lines: io.StringIO) -> Iterator[dict[str, object]]:
    head = lines.readline()
    lines.seek(0)
    delimiter = max(",;\t", key=head.count)
    for line in csv.DictReader(lines, delimiter=delimiter):
        yield {column: cell_value(text) for column, text in line.items() if column is not None}


def cell_value(text: object) -> object:
    """Return the value of a cell of a table: a whole number that was written as a float, a list, or its text."""
    if not isinstance(text, str) or not text.strip():
        return None
    text = text.strip()
    if whole := _WHOLE.fullmatch(text):
        return int(whole[1])
    if text.startswith("[") and text.endswith("]"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _json_lines(lines: io.StringIO) -> Iterator[dict[str, object]]:
    for line in lines:
        if not line.strip():
            continue
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("a line is no object")
        yield found


def _lacks(name: str, picked: str, there: Iterable[object]) -> LacksLabelsError:
    names = ", ".join(map(str, list(there)[:_COLUMNS_SHOWN])) or "none"
    cause = f"has no labels called {picked}: it has {names}"
    return LacksLabelsError(cause, item=name, remedy=f"set {Term.LABELS}=column:NAME to one of these")
