"""Stored labels as classes; the trouble of those that are none."""

import pytest

from infra.sources.formats.label_values import LabelValues


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([3, 0, -1], ["3", "0", "-1"]),
        ([3.0, 0.0, float("nan"), None], ["3", "0", "", ""]),
        ([True, False], ["true", "false"]),
        (["cat", ""], ["cat", ""]),
        ([[3], [1], ["x"]], ["3", "1", "x"]),
        ([[0, 1, 0], [1, 0, 0]], ["1", "0"]),
        ([[0.0, 1.0], [1.0, 0.0]], ["1", "0"]),
        ([[False, True], (True, False)], ["1", "0"]),
    ],
    ids=str,
)
def test_classes(values: list[object], names: list[str]) -> None:
    read = LabelValues()
    assert [read.name(value) for value in values] == names
    assert read.trouble == ""


def test_numbers_take_the_names_of_classes() -> None:
    read = LabelValues()
    assert [read.name(value, ("cat", "dog")) for value in (1, [0, 1], 2)] == ["dog", "dog", "2"]


@pytest.mark.parametrize(
    ("values", "trouble"),
    [
        ([[1, 3]], "several labels per image"),
        ([[0, 1], [1, 1]], "several labels per image"),
        ([[0, 1], [0, 0]], "several labels per image"),
        ([[0, 1], [3]], "several labels per image"),
        ([[0, 1], [0, 1, 0]], "several labels per image"),
        ([[]], "several labels per image"),
        ([0.5], "fractions"),
        ([float("inf")], "fractions"),
        ([{"a": 1}], "values of the type dict"),
    ],
    ids=str,
)
def test_no_classes(values: list[object], trouble: str) -> None:
    read = LabelValues()
    for value in values:
        read.name(value)
    assert read.trouble == trouble
