"""The end of a run, on a terminal and as Markdown."""

import base64
import io
from typing import Any

import pytest
from rich.console import Console

from flows.recipe.presets import load_config
from flows.runtime.result import figure_rows, render_run_page, table
from flows.runtime.runner import StageTime
from tests.conftest import TINY

TIMES = {
    "prepare": StageTime(seconds=3.0, done=0, unit="images", reused=True),
    "train": StageTime(seconds=4.0, done=640, unit="images", reused=False),
    "evaluate": StageTime(seconds=2.0, done=5_000, unit="units", reused=False),
}
LINKS = {
    "report": "/runs/reports/a=1/report.html",
    "MLflow": "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning",
    "served by": "mlflow ui --backend-store-uri sqlite:////runs/mlflow.db",
}


def test_the_rows_are_the_reports_figures_and_this_attempts_rates(tiny_run: Any) -> None:
    rows = figure_rows(tiny_run.config, tiny_run.report, TIMES)
    metrics = tiny_run.report.metrics
    assert rows[0] == (
        "fd_pixels",
        f"{metrics['eval/fd_pixels']:.3f}",
        "Fréchet distance of 24 samples to the training split",
    )
    for row, variance in zip(rows[1:3], ("fixed_large", "fixed_small"), strict=True):
        figure, error = (metrics[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        assert row == ("bits/dim", f"{figure:.3f} ± {error:.3f}", f"upper bound, {variance}, 256 levels")
    assert rows[3:] == [
        ("prepare", "sealed before", ""),
        ("train", "160.0", "images/s of this attempt, start-up counted in"),
        ("evaluate", "2,500.0", "units/s of this attempt, start-up counted in"),
    ]


def test_a_bound_given_labels_says_so(tiny_run: Any) -> None:
    labelled = load_config("digits", None, [*TINY, "train.class_conditional=true"])
    assert figure_rows(labelled, tiny_run.report, {})[1][2] == "upper bound given the labels, fixed_large, 256 levels"


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
