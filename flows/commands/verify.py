"""`ddpm verify` and `ddpm report`: checks sealed outputs, and rewrites a report from them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Root
from infra.errors import InputError
from infra.outputs.manifest import parse_manifest, verify
from infra.storage.open import open_store
from infra.storage.store import Store
from infra.storage.uri import parse_place


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify_outputs)
    app.command("report")(report)


def verify_outputs(
    path: Annotated[
        str, typer.Argument(help="A root, local or s3://bucket/prefix; or a stage's folder, or one output, below it.")
    ],
) -> None:
    """Read every sealed output and compare digests. The exit code is 6 if one differs."""
    place = parse_place(path)
    if place.scheme == "file" and not Path(place.path).is_dir():
        raise InputError("is not a folder", item=place.path)
    store = open_store(place.uri)
    names = [name for name in store.list(".") if _is_manifest(name)]
    if not names:
        raise InputError("holds no sealed output", item=path, remedy="give a root, a stage's folder or an output")
    above = _above(store, names[0])
    if above:
        store = open_store(replace(place, path=place.path.removesuffix(above).rstrip("/")).uri or "/")
        names = [f"{above}/{name}" for name in names]
    whole: set[str] = set()
    for name in names:
        manifest = parse_manifest(store.read(name), item=name)
        verify(store, manifest, whole)
        typer.echo(f"whole  {name}  {len(manifest.units)} units  {manifest.digest}")


def report(
    run: Annotated[
        str, typer.Argument(help="The name of a finished run, as `ddpm run` printed it: its folder below reports/.")
    ],
    root: Root = "",
) -> None:
    """Write a finished run's report.html again. It reads only what the run sealed."""
    from flows.root import resolve_root
    from flows.stages.report.page import rewrite_report

    store = open_store(resolve_root(root))
    typer.echo(f"{store.uri}/{rewrite_report(run, store)}/report.html")


def _is_manifest(name: str) -> bool:
    return "/manifests/" in f"/{name}" and name.endswith(".json") and not name.startswith(".")


def _above(store: Store, name: str) -> str:
    """Return the folder of this store below the root; a manifest holds its own name relative to the root."""
    whole = parse_manifest(store.read(name), item=name).name
    return whole.removesuffix(name).rstrip("/") if whole.endswith(name) else ""
