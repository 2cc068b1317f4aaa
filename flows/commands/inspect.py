"""`ddpm verify` and `ddpm report`: what is sealed, looked at again."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Root
from flows.stages.table import STAGES
from infra.errors import InputError
from infra.outputs.manifest import parse_manifest, verify
from infra.storage.open import open_store
from infra.storage.uri import Place, parse_place


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify_outputs)
    app.command("report")(report)


def verify_outputs(
    path: Annotated[
        str, typer.Argument(help="A root, local or s3://bucket/prefix, or a stage's folder or one output below it.")
    ],
) -> None:
    """Read every sealed output again and compare each unit with its digest; exit 6 where one differs."""
    root, below = _root_of(parse_place(path))
    store = open_store(root)
    names = [
        name
        for name in store.list(below or ".")
        if "/manifests/" in name and name.endswith(".json") and not name.startswith(".")
    ]
    if not names:
        raise InputError("holds no sealed output", item=path, remedy="give a root, a stage's folder or an output")
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
    from flows.runtime.root import resolve_root
    from flows.stages.report.page import rewrite_report

    store = open_store(resolve_root(root))
    typer.echo(f"{store.uri}/{rewrite_report(run, store)}/report.html")


def _root_of(place: Place) -> tuple[str, str]:
    """Split a place into the root of all outputs and the rest: names in manifests count from the root."""
    if place.scheme == "file" and not Path(place.path).is_dir():
        raise InputError("is not a folder", item=place.path)
    folders = {folder for stage in STAGES for folder in stage.folders}
    parts = place.path.split("/")
    for depth in (1, 2):
        if parts[-depth:][0] in folders:
            return replace(place, path="/".join(parts[:-depth])).uri or "/", "/".join(parts[-depth:])
    return place.uri, ""
