"""docs/faults.md names tests that exist, and a test for every fault of training."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
ROWS = [line for line in (TOP / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ")][1:]
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
