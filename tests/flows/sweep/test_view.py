"""The cells that people see are those of the table, on the terminal, on the page, in Prefect and as CSV."""

import csv
import json
from io import BytesIO, StringIO

import numpy as np
from PIL import Image
from rich.console import Console

from flows.pages import palette
from flows.recipe.presets.table import preset
from flows.sweep.files import sweep_files
from flows.sweep.grid import parse_axes
from flows.sweep.outcome import SweepRun
from flows.sweep.plan import PlannedRun, SweepPlan
from flows.sweep.plot import sweep_plot
from flows.sweep.table import Row, SweepTable, make_table
from flows.sweep.view import as_csv, as_markdown, show, view_of
from tests.flows.comparison.trials import distance
from tests.flows.pages.test_pictures import inked, opened
from tests.flows.sweep.rows import PATHS, distances, row


def sweep_of(table: SweepTable, failed: str = "") -> tuple[SweepPlan, list[SweepRun]]:
    """A plan and the runs of a table; the last run fails if there is a reason."""
    config = preset("digits")
    combinations = [dict(each.settings) for each in table.rows]
    planned = [PlannedRun(combination=number, seeds={}, config=config) for number in range(len(combinations))]
    runs = [SweepRun(planned=each, key=f"k{each.combination}", name=f"run-{each.combination}") for each in planned]
    for run in runs:
        run.end(0, "")
    if failed:
        runs[-1].end(8, failed)
    axes = parse_axes([f"{path}={','.join(str(each[path]) for each in combinations)}" for path in table.paths])
    plan = SweepPlan(name="mine", preset="digits", axes=axes, varied=(), combinations=combinations, runs=planned)
    return plan, runs


def test_the_terminal() -> None:
    table = distances((5.0, 0.1), (3.0, 0.1))
    text = StringIO()
    plan, runs = sweep_of(table)
    show(view_of(plan, table, runs), Console(file=text, width=120))
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert lines[0] == "train.learning_rate runs fid minus B ± SE verdict"
    assert lines[1:3] == ["A 1 1 5.00 ± 0.10 +2.00 ± 0.14 beyond", "B 2 1 3.00 ± 0.10 best"]
    assert " ".join(lines[3:]).startswith(
        "best by fid (smaller is better): train.learning_rate=2, 3.00 ± 0.10; its lead"
    )


def test_csv_keeps_every_digit() -> None:
    rows = list(csv.DictReader(StringIO(as_csv(distances((5.0, 0.1), (1 / 3, 0.1), (4.0, None))))))
    assert [each["row"] for each in rows] == ["A", "B", "C"]
    assert float(rows[1]["fid"]) == 1 / 3
    assert float(rows[0]["difference"]) == 5 - 1 / 3
    assert [each["verdict"] for each in rows] == ["beyond", "", "no interval"]
    assert rows[2]["fid standard_error"] == ""


def test_markdown_is_a_table() -> None:
    table = distances((5.0, 0.1), (3.0, 0.1))
    plan, runs = sweep_of(table, "a|b")
    lines = as_markdown(view_of(plan, table, runs)).splitlines()
    assert lines[2:4] == [
        "|  | train.learning_rate | runs | fid | minus B ± SE | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    assert lines[-1] == "* run-1: failed (exit 8: a|b)"


def test_the_files_say_what_failed_and_escape_it() -> None:
    table = make_table(PATHS, [row(1, distance(3.0, 0.1)), row(2)], ["fid"])
    plan, runs = sweep_of(table, "<script>x</script>")
    files = sweep_files(plan, table, runs)
    page = files["sweep.html"].decode()
    assert "failed (exit 8: &lt;script&gt;x&lt;/script&gt;)" in page
    assert "<script>" not in page
    assert '<a href="../../reports/run-0/report.html">run-0</a>' in page
    assert "reports/run-1" not in page
    record = json.loads(files["sweep.json"])
    assert [run["state"] for run in record["runs"]] == ["finished", "failed"]
    assert record["runs"][1] == {
        "name": "run-1",
        "key": "k1",
        "settings": {PATHS[0]: 2},
        "seeds": {},
        "state": "failed",
        "exit_code": 8,
        "line": "<script>x</script>",
    }
    assert record["best"] == {PATHS[0]: 1}
    assert files["table.csv"].decode() == as_csv(table)


def test_before_a_run_is_finished_there_is_a_page_and_no_plot() -> None:
    table = make_table(PATHS, [row(1), row(2)], [])
    plan, runs = sweep_of(table)
    files = sweep_files(plan, table, runs)
    assert set(files) == {"sweep.html", "sweep.json", "table.csv"}
    assert "no run is finished" in files["sweep.html"].decode()


def test_a_numeric_axis_is_the_x_axis_and_a_wide_one_is_logarithmic() -> None:
    """On a logarithmic axis 1, 10 and 100 are equally far apart; on a linear one 1, 2, 3 are."""
    for rates in ((1, 2, 3), (1, 10, 100)):
        rows = [row(rate, distance(3.0)) for rate in rates]
        picture = sweep_plot(make_table(PATHS, rows, ["fid"]))
        assert picture is not None
        blue = inked(opened(picture), palette.BLUE)
        # The best row, here the first, is a diamond; the row of pixels through the dots has three runs.
        line = blue[np.argmax(blue.sum(1))].astype(int)
        starts, ends = np.flatnonzero(np.diff(line, prepend=0) == 1), np.flatnonzero(np.diff(line, append=0) == -1)
        middles = (starts + ends) / 2
        assert len(middles) == 3
        assert abs((middles[1] - middles[0]) - (middles[2] - middles[1])) < 3


def test_texts_stand_one_below_the_other() -> None:
    rows = [row(name, distance(value, 0.1)) for name, value in (("ddpm", 3.0), ("ddim", 4.0))]
    picture = sweep_plot(make_table(PATHS, rows, ["fid"]))
    assert picture is not None
    image = Image.open(BytesIO(picture))
    assert image.format == "PNG"
    both = [np.flatnonzero(inked(opened(picture), colour).any(1)) for colour in (palette.BLUE, palette.VERMILION)]
    assert both[0].max() < both[1].min(), "A above B"


def test_more_series_than_colours_stand_one_below_the_other() -> None:
    measurements = {"fid": distance(3.0, 0.1)}
    rows = [
        Row(settings={"a.x": x, "a.y": f"y{y}"}, planned=1, finished=("r",), measurements=measurements)
        for x in (1, 2)
        for y in range(5)
    ]
    few = sweep_plot(make_table(("a.x", "a.y"), [each for each in rows if each.settings["a.y"] < "y2"], ["fid"]))
    many = sweep_plot(make_table(("a.x", "a.y"), rows, ["fid"]))
    assert few is not None
    assert many is not None
    assert opened(many).shape[0] > opened(few).shape[0]
