"""`ddpm ls`: the runs below a root with what differs between them, or its outputs with their states and sizes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.run import Root

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from flows.inventory.inventory import Inventory
    from flows.inventory.listing import ListedRun, RunList
    from flows.inventory.output import StoredOutput

# Time for listing and reading; what is not read by then is left out, and a line says so.
_SECONDS = 20.0
_WIDTH = 120
_FIGURES = 3


class Order(Enum):
    """The order of a list."""

    NAME = "name"
    NEWEST = "newest"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ls")(list_root)


def list_root(
    root: Root = "",
    outputs: Annotated[
        bool,
        typer.Option("--outputs", help="List the outputs instead: state, amounts, size, and the runs that use them."),
    ] = False,
    by: Annotated[Order, typer.Option("--by", help="Sort by name, or the newest first.")] = Order.NAME,
    limit: Annotated[int, typer.Option("--limit", min=1, help="List so many at most.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the runs below a root: state, figures, and the settings that are not equal in all of them.

    Reading ends after 20 seconds; a line then says what was left out.
    """
    from flows.inventory.listing import list_runs
    from flows.inventory.reading import open_reader

    reader = open_reader(root, _SECONDS)
    if outputs:
        inventory = reader.inventory()
        found = _ordered(list(inventory.outputs.values()), by, lambda output: output.size.changed_s)
        _show_outputs(inventory, found[:limit], reader.store.uri, as_json=as_json)
        return
    runs = _ordered(reader.with_begun_runs(reader.finished_runs()), by, lambda run: run.changed_s)
    listed = list_runs(reader, runs[:limit])
    _show_runs(listed, len(runs), reader.store.uri, as_json=as_json)


def _ordered(items: list[Any], by: Order, changed_s: Callable[[Any], float]) -> list[Any]:
    """Sort runs or outputs, which come by name."""
    return items if by is Order.NAME else sorted(items, key=changed_s, reverse=True)


def _show_runs(found: "RunList", total: int, root: str, *, as_json: bool) -> None:
    from flows.inventory.words import value_text

    if as_json:
        rows = [_run_json(found, one) for one in found.runs]
        left = {"left_out": found.left_out, "not_listed": total - len(rows)}
        typer.echo(json.dumps({"root": root, "runs": rows, "usual": dict(found.usual)} | left, indent=2))
        return
    console = _console()
    if found.runs:
        console.print(_run_table(found))
    else:
        typer.echo(f"no runs below {root}: `ddpm run` makes one")
    if found.usual:
        usual = ", ".join(f"{name} {value_text(value)}" for name, value in found.usual.items())
        _say(console, f"\nmost have  {usual}")
    for one in found.runs:
        if one.damage:
            _say(console, f"damaged    {one.damage}")
    _say_left_out(console, total - len(found.runs), found.left_out)


def _run_table(found: "RunList") -> "Table":
    from rich.text import Text

    from flows.inventory.words import time_text, value_text

    table = _table("run", "state", "UTC", "figures", "settings that differ")
    for one in found.runs:
        differences = found.differences(one)
        settings = "\n".join(f"{name} {value_text(value)}" for name, value in differences.items())
        cells = (one.run.name, one.state, time_text(one.run.changed_s), "\n".join(_figures(one)), settings)
        table.add_row(*map(Text, cells))
    return table


def _figures(one: "ListedRun") -> list[str]:
    from flows.artifacts import figure_text

    headline = [figure for figure in one.figures if figure.headline] or list(one.figures[:_FIGURES])
    return [f"{figure.name} {figure_text(figure)}" for figure in headline]


def _run_json(found: "RunList", one: "ListedRun") -> dict[str, Any]:
    finished = one.run.record.finished if one.run.record else None
    return {
        "name": one.run.name,
        "state": one.state,
        "changed_s": one.run.changed_s,
        "differences": found.differences(one),
        "figures": [asdict(figure) for figure in one.figures],
        "outputs": {kind: {"manifest": part.name, "digest": part.digest} for kind, part in vars(finished).items()}
        if finished
        else {},
        "at_work": one.run.holder,
        "damage": one.damage,
    }


def _show_outputs(inventory: "Inventory", shown: "list[StoredOutput]", root: str, *, as_json: bool) -> None:
    from flows.quantities import bytes_text

    users = {folder: sorted(names) for folder, names in inventory.runs_by_output().items()}
    total = sum(one.size.bytes for one in inventory.outputs.values())
    left = len(inventory.outputs) - len(shown)
    if as_json:
        rows = [_output_json(one, users.get(one.folder, [])) for one in shown]
        more = {"bytes": total, "left_out": inventory.left_out, "not_listed": left}
        typer.echo(json.dumps({"root": root, "outputs": rows} | more, indent=2))
        return
    console = _console()
    if shown:
        console.print(_output_table(shown, users))
        _say(console, f"\n{bytes_text(total)} in {len(inventory.outputs):,} outputs")
    else:
        typer.echo(f"no outputs below {root}: `ddpm run` makes some")
    for line in (*(one.holder for one in shown if one.holder), *inventory.damage):
        _say(console, line)
    _say_left_out(console, left, inventory.left_out)


def _output_table(shown: "list[StoredOutput]", users: dict[str, list[str]]) -> "Table":
    from rich.text import Text

    from flows.inventory.words import time_text
    from flows.quantities import bytes_text

    table = _table("output", "state", "amount", "units", "size", "changed, UTC", "runs")
    for one in shown:
        runs = users.get(one.folder, [])
        names = runs[0] if len(runs) == 1 else f"{len(runs)} runs" if runs else "-"
        size, changed = bytes_text(one.size.bytes), time_text(one.size.changed_s)
        table.add_row(*map(Text, (one.folder, one.state, one.goals, f"{one.units:,}", size, changed, names)))
    return table


def _output_json(one: "StoredOutput", runs: list[str]) -> dict[str, Any]:
    sealed = [{"manifest": goal.manifest, "goal": dict(goal.goal), "digest": goal.digest} for goal in one.sealed]
    return {
        "folder": one.folder,
        "state": one.state,
        "sealed": sealed,
        "units": one.units,
        "bytes": one.size.bytes,
        "files": one.size.files,
        "changed_s": one.size.changed_s,
        "runs": runs,
        "held": one.holder,
        "damage": list(one.damage),
    }


def _console() -> "Console":
    from rich.console import Console

    return Console() if Console().is_terminal else Console(width=_WIDTH)


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _say(console: "Console", line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _say_left_out(console: "Console", not_listed: int, left_out: str) -> None:
    if not_listed:
        _say(console, f"{not_listed:,} more are not listed: --limit lists more, --by newest the latest first")
    if left_out:
        _say(console, f"after {_SECONDS:g} s the reading ended: {left_out}")
