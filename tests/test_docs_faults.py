"""The tables of faults and refusals name tests that exist, and a test for every row."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
_DOCS = TOP / "docs"
_REFUSALS = (_DOCS / "metrics.md").read_text().partition("## Refusals")[2].partition("\n## ")[0]
ROWS = [
    row
    for text in ((_DOCS / "faults.md").read_text(), _REFUSALS)
    for row in text.splitlines()
    if re.match(r"\| (?!---)", row) and row.split("|")[3].strip() != "test"
]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`(tests/[^`]+)`", row)})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_fault_has_a_test(row: str) -> None:
    assert re.search(r"`tests/[^`]+`", row.split("|")[3])


@pytest.mark.parametrize("name", NAMED)
def test_the_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((TOP / path).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not function or function in functions


@pytest.mark.parametrize(
    "case",
    [
        "an input is damaged",
        "too few images",
        "images of another size",
        "weights are missing, or are another file",
        "statistics of other features",
        "statistics of another data set",
        "fewer images than dimensions",
        "not finite",
        "is killed after any unit, or its units run in another order",
        "another held-out split",
    ],
)
def test_the_figures_are_guarded_against_every_case(case: str) -> None:
    assert [row for row in ROWS if row in _REFUSALS and case in row.split("|")[1]]
