"""Labels in arrays of numbers as names of classes: whole numbers, also as floats, true or false, or one-hot rows."""

import re

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError, Term

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
    width = values.shape[1]
    if column is not None and not 0 <= column < width:
        cause = f"has no column {column}: its columns are 0 to {width - 1}"
        raise InputError(cause, item=item, remedy=f"set {Term.LABELS}=column:NUMBER to one of these")
    values = values if column is None else values[:, column : column + 1]
    if values.shape[1] > 1:
        if not is_zeros_and_ones(values) or not bool((values.astype(bool).sum(axis=1) == 1).all()):
            return [], "several labels per image"
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


def is_zeros_and_ones(values: NDArray[np.generic]) -> bool:
    """Tell whether all numbers are 0 or 1, as those of one-hot rows and of several labels per image are."""
    return bool((values == values.astype(bool)).all())
