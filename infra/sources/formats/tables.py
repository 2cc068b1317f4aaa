"""Text tables beside images whose rows begin with the name of an image: CelebA's lists, val_annotations.txt, train.csv.

A file is such a table if its own name fits a line of `TABLES`; a new kind of table is a line there. Columns are
separated by commas, semicolons or tabs, else by blanks. The first line names the columns, unless it begins with the
name of an image; it may lack a name for the column of images, and the number of rows may stand on a line before it. The
images are in the first column unless another is called like them. All rows have as many columns as the first.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from infra.errors import InputError, Term
from infra.sources.formats.metadata import FILE_COLUMNS, IGNORE, LABEL_NAMES, Row, cell_value, own_name
from infra.sources.image_formats import SUFFIXES
from infra.sources.source import Metadata

_ENDS = (".csv", ".tsv", ".txt")
_NAMELESS = "file_name"
_FILE_COLUMNS = (*FILE_COLUMNS, "image_name", "img_name", "img", "id_code", "filepath", "filepaths", "image_path")
_SPLIT_COLUMNS = ("partition", "split", "subset", "set")
_SPLITS = {
    word: split
    for split, words in (
        ("train", ("0", "train", "training")),
        ("val", ("1", "val", "valid", "validation")),
        ("test", ("2", "test", "testing")),
    )
    for word in words
}
_COLUMNS_SHOWN = 3
_LONGEST_COLUMN = 24
_REPAIR_SPLITS = f"repair it, or {Term.TAKE_NO_SPLITS}"


@dataclass(frozen=True)
class TableKind:
    """A kind of text table.

    Attributes:
        names: The own names of such files, in lower case; a group `split` is the split of whose images alone they tell.
        column: The name of the column after that of the images, if the first line names none.
        splits: Whether it gives splits instead of labels.
    """

    names: re.Pattern[str]
    column: str
    splits: bool = False


TABLES = (
    TableKind(re.compile(r"list_attr_\w+\.(txt|csv)"), "attribute"),
    TableKind(re.compile(r"identity_\w+\.(txt|csv)"), "identity"),
    TableKind(re.compile(r"(list_eval_partition|splits)\.(txt|csv|tsv)"), "partition", splits=True),
    TableKind(
        re.compile(r"(?P<split>train|test|val)(ing|id|idation)?[-_ ]?(set|labels?|list|annotations?)?\.(txt|csv|tsv)"),
        "label",
    ),
)


@dataclass(frozen=True)
class PassedOver:
    """A table of which no labels are taken.

    Attributes:
        cause: The reason, for the user.
        choice: The choice that takes labels of it; empty if it has none. It holds a `Term`.
    """

    cause: str
    choice: str = ""


@dataclass(frozen=True)
class _Table:
    """The columns of a table by number, which of them has the names of images, and the rows."""

    columns: list[str]
    image: int
    rows: Iterator[list[str]]

    def number(self, name: str) -> int | None:
        """The number of the column of that very name."""
        return self.columns.index(name) if name in self.columns else None

    def first_of(self, names: tuple[str, ...]) -> int | None:
        """The number of the column that is called like the first of these that there is."""
        return _first_of(self.columns, names, but=self.image)


def table_kind(name: str) -> TableKind | None:
    """Return the kind of table that a file is by its name; None if it is none."""
    own = own_name(name).lower()
    return next((kind for kind in TABLES if kind.names.fullmatch(own)), None) if own.endswith(_ENDS) else None


def split_of_table(name: str) -> str:
    """Return the split of whose images alone a file tells, as train.csv does; empty for any other file."""
    kind, own = table_kind(name), own_name(name).lower()
    found = kind.names.fullmatch(own) if kind else None
    return found.groupdict().get("split", "") if found else ""


def table_labels(file: Metadata, picked: str) -> Iterator[Row] | PassedOver | None:
    """Return the labels in a table; None if it is none of images.

    Args:
        file: The table.
        picked: The column of the labels; if empty, the first that is called like labels.

    Raises:
        InputError: While rows are taken, if one of them is broken.
    """
    own = own_name(file.name)
    if isinstance(file.content, InputError):
        return PassedOver(f"{own} {file.content.cause}")
    try:
        table = _read(file.name, file.content)
    except (ValueError, csv.Error) as error:
        return PassedOver(f"{own} cannot be read ({error})")
    if table is None:
        return None
    label = table.number(picked) if picked else table.first_of(LABEL_NAMES)
    if label is None:
        others = [column for number, column in enumerate(table.columns) if number != table.image]
        return _offer(own, others, picked)
    return _labels(file.name, table, label)


def table_splits(file: Metadata, _picked: str = "") -> Iterator[Row] | None:
    """Return the split of each row of a table: train, val or test; None if it gives none.

    Raises:
        InputError: If it cannot be read, also while rows are taken.
    """
    if isinstance(file.content, InputError):
        raise InputError(file.content.cause, item=file.name, remedy=_REPAIR_SPLITS)
    try:
        table = _read(file.name, file.content)
    except (ValueError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", item=file.name, remedy=_REPAIR_SPLITS) from error
    column = table.first_of(_SPLIT_COLUMNS) if table else None
    return None if table is None or column is None else _splits(file.name, table, column)


def _labels(name: str, table: _Table, label: int) -> Iterator[Row]:
    try:
        for row in table.rows:
            yield row[table.image], cell_value(row[label])
    except (ValueError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", item=name, remedy=IGNORE) from error


def _splits(name: str, table: _Table, column: int) -> Iterator[Row]:
    try:
        for row in table.rows:
            if (split := _SPLITS.get(row[column].strip().lower())) is None:
                raise ValueError(f"{row[column][:20]!r} is no split")
            yield row[table.image], split
    except (ValueError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", item=name, remedy=_REPAIR_SPLITS) from error


def _offer(own: str, columns: list[str], picked: str) -> PassedOver:
    """The labels that a table has instead."""
    shown = ", ".join(column[:_LONGEST_COLUMN] for column in columns[:_COLUMNS_SHOWN])
    more = f" and {len(columns) - _COLUMNS_SHOWN} more" if len(columns) > _COLUMNS_SHOWN else ""
    if picked:
        return PassedOver(f"{own} has no column {picked}: it has {shown}{more}")
    if len(columns) == 1:
        return PassedOver(f"{own} has no labels but {shown}", f"{Term.LABELS}=column:{columns[0]} takes that")
    return PassedOver(f"{own} has several labels per image ({shown}{more})", f"{Term.LABELS}=column:NAME takes one")


def _read(name: str, content: bytes) -> _Table | None:
    """Read the head of a table; None if it is none of images.

    The rest is read while its rows are taken, so that they are never in memory at once.
    """
    rows = _rows(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=""))
    first, kind = next(rows, []), table_kind(name)
    head = [cell.strip() for cell in first]
    if len(head) > 1 and _is_image(head[0]) and kind is not None:
        # Of several columns, numbers may be a box or points, and then none of them is a label.
        second = "1" if len(head) > 2 and _is_number(head[1]) else kind.column
        columns = [_NAMELESS, second, *map(str, range(2, len(head)))]
        return _Table(columns, 0, _of_width(chain([first], rows), len(columns)))
    row = next(rows, [])
    columns = [_NAMELESS, *head] if len(row) == len(head) + 1 else head
    image = _image_column(columns, row)
    if image is None or len(columns) < 2:
        return None
    return _Table(columns, image, _of_width(chain([row] if row else [], rows), len(columns)))


def _image_column(columns: list[str], row: list[str]) -> int | None:
    """The column of the names of images: of those called so, the first with a file's name in the first row."""
    called = [column.lower() for column in columns]
    numbers = [called.index(name) for name in _FILE_COLUMNS if name in called]
    if not numbers:
        return 0 if row and _is_image(row[0]) else None
    return next((number for number in numbers if number < len(row) and _is_image(row[number])), numbers[0])


def _rows(text: io.TextIOWrapper) -> Iterator[list[str]]:
    """The cells of each line that is not empty; a first line with nothing but a number counts the rows."""
    head = text.readline()
    if head.strip().isdecimal():
        head = text.readline()
    delimiter = max("\t,;", key=head.count)
    lines = chain([head], text)
    return filter(None, csv.reader(lines, delimiter=delimiter) if delimiter in head else map(str.split, lines))


def _of_width(rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(f"row {number} has {len(row)} columns and not {width}")
        yield row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_image(cell: str) -> bool:
    return f".{cell.lower().rpartition('.')[2]}" in SUFFIXES


def _first_of(columns: list[str], names: tuple[str, ...], but: int | None = None) -> int | None:
    lower = [column.lower() if number != but else "" for number, column in enumerate(columns)]
    return next((lower.index(name) for name in names if name in lower), None)
