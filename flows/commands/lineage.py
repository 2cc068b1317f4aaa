"""`ddpm lineage`: what a run, an output or a file was made from, and what was made from it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import Root
from infra.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from flows.inventory.lineage import Lineage, Node

_SECONDS = 60.0
_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lineage")(lineage)


def lineage(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="X",
            help="A run's name or the digits at its end; an output's folder, such as train/KEY, or a file in it, also "
            "as a path or an s3:// URI; or a digest, or its first digits.",
        ),
    ],
    root: Root = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a tree.")] = False,
) -> None:
    """Show what something was made from, back to data, settings and source code, and what uses it."""
    from flows.inventory.finding import find_subject, root_of
    from flows.inventory.lineage import lineage_of
    from flows.inventory.reading import open_reader
    from infra.storage.open import open_store

    reader = open_reader(root or root_of(subject), _SECONDS)
    if root_of(subject) and open_store(root_of(subject)).uri != reader.store.uri:
        raise InputError("is below another root", item=subject, remedy="leave --root out")
    inventory = reader.inventory()
    found = lineage_of(find_subject(subject, inventory, reader.store), inventory, reader.store)
    if as_json:
        typer.echo(json.dumps({"root": reader.store.uri} | found.as_json(), indent=2))
    else:
        _show(found)


def _show(found: "Lineage") -> None:
    from rich.console import Console

    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    console.print(_tree(found.origin))
    console.print()
    if found.uses.below:
        console.print(_tree(found.uses, "used by"))
    else:
        console.print("used by  nothing below this root", highlight=False)
    if found.left_out:
        console.print(f"after {_SECONDS:g} s the reading ended: {found.left_out}", soft_wrap=True, highlight=False)


def _tree(top: "Node", heading: str = "") -> "Tree":
    from rich.tree import Tree

    tree = Tree(_line(top, heading), highlight=False)
    waiting = [(tree, top)]
    while waiting:
        branch, node = waiting.pop()
        for name, text in node.details.items():
            branch.add(_text(f"{name}: {text}", "dim"))
        waiting += [(branch.add(_line(below, below.role)), below) for below in node.below]
    return tree


def _line(node: "Node", role: str) -> "Text":
    parts = [f"{role}:" if role else "", node.name, node.title, "(shown above)" if node.is_again else ""]
    return _text("  ".join(part for part in parts if part))


def _text(line: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(line, style=style)
