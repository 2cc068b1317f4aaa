"""`ddpm prune`: removes from a root what nothing refers to, after it was shown."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import Root, say_aside
from infra.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from flows.inventory.inventory import Inventory
    from flows.inventory.pruning import Pruning
    from flows.inventory.reading import Reader
    from flows.inventory.removal import Outcome

_WIDTH = 120
_DAY_S = 86400.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prune")(prune)


def prune(
    root: Root = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove without a question.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only what was not changed for so many days.")
    ] = 0.0,
) -> None:
    """Show what no finished run refers to, and remove it: attempts put aside, begun outputs, spare checkpoints.

    It asks first. Without a terminal it only shows, unless --yes is given. What a run at work may use stays.
    """
    from flows.inventory.reading import open_reader
    from flows.inventory.removal import remove
    from flows.quantities import bytes_text

    registered: dict[str, str] = {}
    reader, hindrance = open_reader(root), ""

    def find() -> "Pruning":
        return _find(reader, reader.inventory(), older_than * _DAY_S, registered)

    shown = find()
    if any(one.is_sealed for one in shown.removals):
        registered, hindrance = _registered(reader)
        shown = _find(reader, shown.inventory, older_than * _DAY_S, registered)
    _show(shown, reader.store.uri)
    if shown.removals and (yes or _agrees(shown)):
        outcome = remove(reader.store, shown, find, say=say_aside, hindrance=hindrance)
        _show_kept(outcome)
        typer.echo(f"removed {bytes_text(outcome.bytes)} in {len(outcome.removed):,} of {len(shown.removals):,} lines")
    if shown.inventory.damage:
        raise IntegrityError(
            f"{shown.inventory.damage[0]}; it may refer to any output, so all outputs stay",
            stage="prune",
            remedy="restore it, run the pipeline again, or delete its folder",
        )
    if hindrance and any(one.is_sealed for one in shown.removals):
        raise StorageError(hindrance, stage="prune", remedy="sealed outputs stay; run again once it answers")


def _find(reader: "Reader", inventory: "Inventory", older_than_s: float, registered: Mapping[str, str]) -> "Pruning":
    from flows.inventory.pruning import find_removals
    from flows.inventory.removal import spare_objects
    from infra.outputs.costs import records_by_output

    return find_removals(
        inventory,
        now_s=reader.store.now_s(),
        older_than_s=older_than_s,
        spare=lambda output: spare_objects(reader.store, output),
        registered=registered,
        costs=records_by_output(reader.store),
    )


def _registered(reader: "Reader") -> tuple[dict[str, str], str]:
    """Return the registered models by the outputs that they name, or why they are not known."""
    from flows.inventory.finding import name_below
    from flows.root import tracking_place
    from infra.tracking.resolver import registered_weights

    uri = reader.store.uri
    try:
        weights = registered_weights(tracking_place(uri)[0])
    except StorageError as error:
        return {}, f"{error.cause}, and a registered model may name an output"
    # By stage and key alone: one root has many addresses, and keys of equal outputs are equal in every root.
    return {"/".join(name_below(place).split("/")[:2]): model for place, model in weights.items()}, ""


def _show(shown: "Pruning", root: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from flows.quantities import bytes_text

    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    for name, reason in shown.kept.items():
        console.print(f"stays     {name}: {reason}", soft_wrap=True, highlight=False, markup=False)
    if not shown.removals:
        console.print(f"nothing to remove below {root}", soft_wrap=True, highlight=False, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("to remove", "size", "files", "reason"):
        table.add_column(column, overflow="fold")
    for one in shown.removals:
        table.add_row(*map(Text, (one.name, bytes_text(one.bytes), f"{one.files:,}", one.reason)))
    console.print(table)
    if costs := sum(len(one.costs) for one in shown.removals):
        console.print(f"with them go {costs:,} records of what they cost", highlight=False)
    console.print(f"{bytes_text(shown.bytes)} in all", highlight=False)


def _agrees(shown: "Pruning") -> bool:
    if not sys.stdin.isatty():
        typer.echo("nothing was removed: there is no terminal to ask; --yes removes")
        return False
    typer.echo(f"Remove these {len(shown.removals):,}? [y/N] ", nl=False)
    agrees = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not agrees:
        typer.echo("nothing was removed")
    return agrees


def _show_kept(outcome: "Outcome") -> None:
    for name, reason in outcome.kept.items():
        typer.echo(f"stays     {name}: {reason}")
