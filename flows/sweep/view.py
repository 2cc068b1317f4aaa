"""A sweep in words: the cells that the terminal, the page and Prefect show, and the rows as CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.comparison.view import difference_text, letter_of
from flows.sweep.grid import value_text
from flows.sweep.outcome import SweepRun
from flows.sweep.plan import SweepPlan
from flows.sweep.table import Row, SweepTable, figure_text

_LEGEND = (
    "±: one standard error. beyond: the difference to the best row exceeds 2 standard errors, or more if they rest on "
    "few images, blocks or seeds (Student's t)."
)
_MANY = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table in words; `best` marks the best one, and the others have a difference to it."""

    letter: str
    settings: Sequence[str]
    runs: str
    figures: Sequence[str]
    difference: str
    verdict: str
    best: bool


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A run in words, with the address of its report relative to the sweep's page, if it is finished."""

    letter: str
    name: str
    seeds: str
    state: str
    report: str


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """A sweep in words.

    Attributes:
        name: Its name.
        summary: Its size and seeds.
        note: The best row and its lead.
        warnings: Runs that did not finish.
        settings: The heads of the columns of the grid.
        figures: The heads of the columns of figures, the ranking one first.
        against: The head of the column of differences.
        lines: The rows.
        remarks: Sentences below the table.
        runs: The runs.
    """

    name: str
    summary: str
    note: str
    warnings: Sequence[str]
    settings: Sequence[str]
    figures: Sequence[str]
    against: str
    lines: Sequence[Line]
    remarks: Sequence[str]
    runs: Sequence[RunLine]


def view_of(plan: SweepPlan, table: SweepTable, runs: Sequence[SweepRun]) -> SweepView:
    """Put a sweep into words."""
    figures = [name for name in dict.fromkeys((table.by, *table.figures)) if name in table.figures]
    best = "" if table.best is None else letter_of(table.best)
    judged = sum(row.difference is not None for row in table.rows)
    remarks = [_LEGEND]
    if judged >= _MANY:
        remarks.append(f"Of {judged} differences about 1 in 20 exceeds its interval by chance alone.")
    finished = sum(run.is_finished for run in runs)
    seeds = f", seeds {', '.join(plan.varied)}" if plan.varied else ""
    return SweepView(
        name=plan.name,
        summary=f"{len(table.rows)} combinations, {finished} of {len(runs)} runs finished{seeds}",
        note=table.note,
        warnings=[f"{run.name}: {run.state_text}" for run in runs if run.code],
        settings=list(table.paths),
        figures=figures,
        against=f"minus {best} ± SE" if best else "difference",
        lines=[_line(table, place, figures) for place in range(len(table.rows))],
        remarks=remarks,
        runs=[_run_line(run) for run in runs],
    )


def _line(table: SweepTable, place: int, figures: Sequence[str]) -> Line:
    row = table.rows[place]
    apart = row.difference
    finished = len(row.finished)
    return Line(
        letter=letter_of(place),
        settings=[value_text(row.settings[path]) for path in table.paths],
        runs=str(finished) if finished == row.planned else f"{finished} of {row.planned}",
        figures=[figure_text(row.measurements.get(name)) for name in figures],
        difference="" if apart is None else difference_text(apart),
        verdict="best" if place == table.best else "" if apart is None else apart.verdict.value,
        best=place == table.best,
    )


def _run_line(run: SweepRun) -> RunLine:
    return RunLine(
        letter=letter_of(run.planned.combination),
        name=run.name,
        seeds=", ".join(f"{path}={seed}" for path, seed in run.planned.seeds.items()),
        state=run.state_text,
        report=f"../../reports/{run.name}/report.html" if run.is_finished else "",
    )


def show(view: SweepView, console: Console) -> None:
    """Print the table, folded to the width of the console."""
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("")
    for name in view.settings:
        table.add_column(name, overflow="fold")
    for head in ("runs", *view.figures, view.against, "verdict"):
        table.add_column(head, overflow="fold")
    for line in view.lines:
        cells = (line.letter, *line.settings, line.runs, *line.figures, line.difference, line.verdict)
        table.add_row(*map(Text, cells), style="bold" if line.best else "")
    console.print(table)
    for text in (view.note, *view.remarks):
        console.print(Text(text, style="" if text is view.note else "dim"))


def as_markdown(view: SweepView) -> str:
    """Return the table as Markdown, for the page of a Prefect run."""
    heads = ["", *view.settings, "runs", *view.figures, view.against, "verdict"]
    rows = [
        [line.letter, *line.settings, line.runs, *line.figures, line.difference, line.verdict] for line in view.lines
    ]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (heads, *rows)]
    lines.insert(1, "|" + " --- |" * len(heads))
    return "\n".join([f"{view.summary}. {view.note}.", "", *lines, "", *(f"* {line}" for line in view.warnings)])


def as_csv(table: SweepTable) -> str:
    """Return the rows as CSV: the settings, and every figure with its errors; numbers keep every digit."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.measurements))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["row", *table.paths, "runs", "planned"]
    heads += [f"{name}{part}" for name in names for part in ("", " standard_error", " deviation", " seeds")]
    writer.writerow([*heads, "ranked by", "difference", "difference standard_error", "interval", "verdict", "reason"])
    for place, row in enumerate(table.rows):
        cells: list[Any] = [letter_of(place), *(value_text(row.settings[path]) for path in table.paths)]
        cells += [len(row.finished), row.planned]
        for name in names:
            found = row.measurements.get(name)
            cells += ["", "", "", 0] if found is None else [
                found.value, found.standard_error, found.deviation, found.seeds
            ]  # fmt: skip
        writer.writerow([*cells, table.by, *_difference_cells(row)])
    return text.getvalue()


def _difference_cells(row: Row) -> list[Any]:
    apart = row.difference
    if apart is None:
        return [None] * 5
    return [
        apart.value,
        apart.standard_error,
        apart.interval,
        apart.verdict.value,
        apart.unlike or apart.remark or None,
    ]
