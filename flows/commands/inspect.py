"""`ddpm verify` and `ddpm report`: what is sealed, looked at again."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Root
from infra.errors import InputError
from infra.plan import parse_manifest, verify
from infra.store import open_store


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify_outputs)
    app.command("report")(report)


def verify_outputs(
    path: Annotated[Path, typer.Argument(help="A root, or a stage's folder or one output below it.")],
) -> None:
    """Read every sealed output again and compare each unit with its digest; exit 6 where one differs."""
    root, below = _root_of(path.expanduser().absolute())
    store = open_store(str(root))
    names = [
        name
        for name in store.list(below or ".")
        if "/manifests/" in name and name.endswith(".json") and not name.startswith(".")
    ]
    if not names:
        raise InputError("holds no sealed output", item=str(path), remedy="give a root, a stage's folder or an output")
    for name in names:
        manifest = parse_manifest(store.read(name), item=name)
        verify(store, manifest)
        typer.echo(f"whole  {name}  {len(manifest.units)} units  {manifest.digest}")


def report(
    run: Annotated[
        str, typer.Argument(help="A finished run's name, as `ddpm run` printed it: its folder in reports/.")
    ],
    root: Root = "",
) -> None:
    """Write a finished run's report.html again from what it sealed."""
    from flows.report import rewrite_report
    from flows.root import resolve_root

    store = open_store(resolve_root(root))
    typer.echo(f"{store.uri}/{rewrite_report(run, store)}/report.html")


def _root_of(path: Path) -> tuple[Path, str]:
    """Split a path into the root of all outputs and the rest: names in manifests count from the root."""
    if not path.is_dir():
        raise InputError("is not a folder", item=str(path))
    stages = {"prepare", "train", "sample", "features", "evaluate"}
    if path.name in stages:
        return path.parent, path.name
    if path.parent.name in stages:
        return path.parent.parent, f"{path.parent.name}/{path.name}"
    return path, ""
