"""The end of a run, on a terminal and as Markdown."""

import base64
import io

import pytest
from rich.console import Console

from flows.runtime.result import render_run_page, table

LINKS = {
    "report": "/runs/reports/a=1/report.html",
    "MLflow": "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning",
    "served by": "mlflow ui --backend-store-uri sqlite:////runs/mlflow.db",
}


def test_the_terminals_table_has_all_rows() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(table([("fd_pixels", "1.250", "a note"), ("train", "160.0", "")]))
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["fd_pixels", "1.250", "a", "note"],
        ["train", "160.0"],
    ]


def test_the_page_has_rows_links_and_picture() -> None:
    lines = render_run_page(
        "digits-0f", [("fd", "1.250", "a note"), ("train", "160.0", "")], b"PNG", LINKS
    ).splitlines()
    assert lines[0] == "## digits-0f"
    start = lines.index("| | figure | |")
    head = ["| | figure | |", "|---|---:|---|"]
    assert lines[start : start + 4] == [*head, "| fd | 1.250 | a note |", "| train | 160.0 |  |"]
    assert lines[start + 4] == "", "the table ends"
    assert lines[start + 5 : start + 8] == [
        "* report: `/runs/reports/a=1/report.html`",
        "* MLflow: <http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning>",
        "* served by: `mlflow ui --backend-store-uri sqlite:////runs/mlflow.db`",
    ]
    assert lines[-1] == f"![samples](data:image/png;base64,{base64.b64encode(b'PNG').decode()})"


@pytest.mark.parametrize("cell", ["a|b", "|", "a | b || c"])
def test_a_pipe_makes_no_cell(cell: str) -> None:
    page = render_run_page("x", [(cell, "1", cell)], b"", {})
    (row,) = (line for line in page.splitlines() if line.startswith("| ") and line != "| | figure | |")
    assert row.count("|") == 4


@pytest.mark.parametrize("address", ["javascript:alert(1)", "http://x/ y", "file:///etc/passwd"])
def test_only_web_addresses_are_links(address: str) -> None:
    assert f"* it: `{address}`" in render_run_page("x", [], b"", {"it": address})
