"""Labels in arrays of numbers as names of classes: whole numbers, also as floats, true or false, or one-hot rows."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, Term
from infra.sources.source import NoClasses

SEVERAL = "several labels per image"
COLUMN = re.compile(r"[0-9]{1,6}")


def column_number(picked: str, item: str) -> int | None:
    """Return the column of an array of labels that the user chose; None if there is no choice.

    Args:
        picked: The choice, empty if there is none.
        item: The array in an error.

    Raises:
        InputError: If the choice is no number.
    """
    if picked and not COLUMN.fullmatch(picked):
        remedy = f"set {Term.LABELS}=column:NUMBER, counted from 0, or {Term.LABELS}=none"
        raise InputError(f"has no column {picked}: columns of arrays have numbers", item=item, remedy=remedy)
    return int(picked) if picked else None


def number_labels(values: NDArray[np.generic], item: str, column: int | None = None) -> tuple[list[str], str]:
    """Return the labels in an array [n, k], and why they are no classes, which is empty if they are.

    Args:
        values: Numbers, or true and false, a row per image.
        item: The array in an error.
        column: The one column to take, from 0; None to read rows of several as one-hot.

    Raises:
        InputError: If there is no such column.
    """
    values = one_column(values, item, column)
    if values.shape[1] > 1:
        if not is_zeros_and_ones(values) or not bool((values.astype(bool).sum(axis=1) == 1).all()):
            return [], SEVERAL
        return [str(place) for place in values.astype(bool).argmax(axis=1).tolist()], ""
    only = values[:, 0]
    if only.dtype.kind == "b":
        return ["true" if value else "false" for value in only.tolist()], ""
    if only.dtype.kind == "f":
        missing = np.isnan(only)
        if not bool((only[~missing] == np.trunc(only[~missing])).all()) or bool(np.isinf(only).any()):
            return [], "fractions"
        return ["" if value != value else str(int(value)) for value in only.tolist()], ""
    return [str(value) for value in only.tolist()], ""


def one_column(values: NDArray[np.generic], item: str, column: int | None) -> NDArray[np.generic]:
    """Return the column of an array [n, k] that the user chose as [n, 1], or the array if there is no choice.

    Raises:
        InputError: If there is no such column.
    """
    if column is None:
        return values
    if not 0 <= column < values.shape[1]:
        cause = f"has no column {column}: its columns are 0 to {values.shape[1] - 1}"
        remedy = f"set {Term.LABELS}=column:NUMBER to one of these, or {Term.LABELS}=none"
        raise InputError(cause, item=item, remedy=remedy)
    return values[:, column : column + 1]


def no_classes(item: str, trouble: str, column: int | None) -> Iterator[NoClasses]:
    """Say that labels are no classes if they are none, and that one of several can be chosen.

    Args:
        item: The name of the array, for the user.
        trouble: Why they are no classes; empty if they are.
        column: The column that the user chose.
    """
    if trouble:
        yield NoClasses(f"{item}: {trouble}", "column:NUMBER" if trouble == SEVERAL and column is None else "")


def is_zeros_and_ones(values: NDArray[np.generic]) -> bool:
    """Tell whether all numbers are 0 or 1, as those of one-hot rows and of several labels per image are."""
    return bool((values == values.astype(bool)).all())
