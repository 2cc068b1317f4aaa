"""Arrays of numbers as classes; test_npy_labels.py has the same of stored arrays."""

import numpy as np
import pytest

from infra.errors import InputError, Term
from infra.sources.formats.array_labels import column_number, is_zeros_and_ones, number_labels

ROWS = np.array([[0, 1, 1], [1, 0, 0]])


def test_rows_are_one_hot_or_several_labels_and_a_column_is_one_of_them() -> None:
    assert number_labels(np.eye(3)[[2, 0]], "a") == (["2", "0"], "")
    assert number_labels(ROWS, "a") == ([], "several labels per image")
    assert number_labels(ROWS, "a", 2) == (["1", "0"], "")
    with pytest.raises(InputError, match="a: has no column 3: its columns are 0 to 2"):
        number_labels(ROWS, "a", 3)


def test_zeros_and_ones() -> None:
    assert is_zeros_and_ones(ROWS)
    assert is_zeros_and_ones(ROWS.astype(bool))
    assert not is_zeros_and_ones(ROWS + 1)
    assert not is_zeros_and_ones(ROWS / 2)


def test_a_column_is_a_number() -> None:
    assert column_number("", "a") is None
    assert column_number("12", "a") == 12
    for picked in ("-1", "x", "1.0"):
        with pytest.raises(InputError, match=f"a: has no column {picked}") as caught:
            column_number(picked, "a")
        assert f"{Term.LABELS}=none" in caught.value.remedy
