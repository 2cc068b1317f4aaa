"""A comparison on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.comparison.view import View


def show(view: View, console: Console) -> None:
    """Print a comparison, folded to the width of the console."""
    console.print(_grid(view.runs))
    for title, rows in view.parts:
        console.print(Text(f"\n{title}", style="bold"))
        if rows:
            console.print(_grid(rows))
    console.print(Text("\nFigures", style="bold"))
    console.print(_figures(view))
    for number, note in enumerate(view.notes, 1):
        console.print(Text(f"[{number}] {note}"))
    console.print()
    for line in view.remarks:
        console.print(Text(line, style="dim"))


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(text))
    return grid


def _figures(view: View) -> Table:
    table, first = Table(box=None, pad_edge=False, header_style=""), view.runs[0][0]
    table.add_column("figure", overflow="fold")
    with_seeds = any(line.deviation for line in view.figures)
    for heading in ("run", "value ± SE", *(["SD (seeds)"] if with_seeds else []), f"minus {first} ± SE", "verdict"):
        table.add_column(heading)
    for line in view.figures:
        deviation = [line.deviation] if with_seeds else []
        cells = (line.figure, line.letter, line.value, *deviation, line.difference, line.verdict)
        table.add_row(*map(Text, cells), style="bold" if line.beyond else "")
    return table
