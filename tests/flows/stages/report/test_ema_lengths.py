"""The report's part on EMA lengths: a plot whose numbers are those that were sealed, and the same as a table."""

import csv
import io

from flows.run_record import FinishedRun
from flows.stages.report.ema_lengths import length_rows, lengths_plot
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.sections import render_page
from tests.conftest import TinyRun
from tests.flows.metrics.test_ema_lengths import evaluated
from tests.flows.stored_averages import sealed_walk

FOUND = {"value": 4.25, "standard_error": 0.5, "difference": -0.125, "difference_standard_error": 0.0625}
TABLE = {
    "own": {"sigma_rel": 0.064, "variances": {"fixed_large": {"value": 4.375, "standard_error": 0.5}}},
    "lengths": [
        {"sigma_rel": length, "relative_error": 0.0125, "variances": {"fixed_large": FOUND}} for length in (0.05, 0.1)
    ],
}


def test_the_csv_holds_every_number_in_the_order_of_lengths() -> None:
    header, *rows = csv.reader(io.StringIO(lengths_plot(TABLE).csv.decode()))
    assert header[:4] == ["sigma_rel", "own", "relative_error_of_profile", "fixed_large value (bits/dim)"]
    assert [[float(cell) for cell in row] for row in rows] == [
        [0.05, 0, 0.0125, 4.25, 0.5, -0.125, 0.0625],
        [0.064, 1, 0, 4.375, 0.5, 0, 0],
        [0.1, 0, 0.0125, 4.25, 0.5, -0.125, 0.0625],
    ]


def test_the_rows_are_text_for_people() -> None:
    own, first, _ = length_rows(TABLE)
    assert own == {
        "length": "0.064 (own average)",
        "variance": "fixed large",
        "value": "4.38 ± 0.50",
        "difference": "",
        "error": "",
    }
    assert (first["length"], first["difference"], first["error"]) == ("0.05", "-0.125 ± 0.062", "1.25%")


def test_the_page_shows_plot_and_table(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    figures = evaluated(tiny_run, walk)
    finished = FinishedRun(dataset=tiny_run.dataset, snapshot=walk.snapshot, samples=tiny_run.samples, figures=figures)
    outputs = read_outputs(tiny_run.store, finished)
    drawings = draw(outputs)
    assert drawings.plots["ema_lengths"].png.startswith(b"\x89PNG")
    page = render_page("a-run", outputs, drawings, {})
    assert "<h2>EMA length</h2>" in page
    assert "(own average)" in page
    assert "EMA length with the least bits/dim" in page
