"""`ddpm inspect`: what would become of a source of images, before anything is written."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddpm_core.network.image_size import size_text
from flows.commands.file_option import check_folder, write_file
from flows.commands.plan import AsJson
from flows.commands.run import ConfigFile, Settings, say_unused
from flows.recipe.settings import load_config, without_effect
from infra.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.inspection.inspection import Inspection

_PRESET = "folder"
_ELSEWHERE = "ELSEWHERE"
_MOST_CLASSES = 10
# The width of lines that go to a file instead of a terminal.
_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect")(inspect)


def inspect(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, files or globs of images, local or s3://. Default: prepare.source of the settings.",
        ),
    ] = None,
    setting: Settings = None,
    config: ConfigFile = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Also draw some images as training would see them, as a PNG."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a source of images, and by which rules. Nothing is written but the picture.

    All files are listed. Of the images at most 512 are read, evenly spaced, for ten seconds at most.
    """
    from flows.inspection.inspection import inspect_source

    if picture is not None:
        check_folder(picture, f"--picture {picture}")
    values = load_config(_PRESET, config, setting or [], together=False)
    say_unused([path for path in without_effect(values, config, setting or []) if path.startswith("prepare.")])
    chosen = values.prepare.model_copy(update={"source": source[0] if len(source) == 1 else source} if source else {})
    with _counted() as on_found:
        found = inspect_source(chosen, on_found)
    if picture is not None:
        write_file(picture, _drawn(found))
    if as_json:
        typer.echo(json.dumps(found.as_json() | {"command": _command(found, config, setting or [])}, indent=2))
    else:
        _show(found, _command(found, config, setting or []), picture)


@contextmanager
def _counted() -> "Iterator[Callable[[int], None]]":
    """Show on a terminal how many files and images were listed so far."""
    from rich.console import Console

    with Console(stderr=True).status("listing") as status:
        yield lambda count: status.update(f"listing: {count:,} so far")


def _drawn(found: "Inspection") -> bytes:
    from flows.pages.pictures import sample_grid

    if not len(found.sample.pictures):
        raise InputError("cannot be drawn: no image of the sample can be read", item="--picture", remedy="drop it")
    return sample_grid(found.sample.pictures)


def _command(found: "Inspection", config: Path | None, settings: list[str]) -> str:
    """Return the command that goes on from here, with the same settings."""
    from flows.root import resolve_root
    from flows.stages.prepare.sources import check_source
    from infra.storage.uri import parse_place

    source = found.config.source if isinstance(found.config.source, str) else json.dumps(found.config.source)
    words = [
        "ddpm",
        "run",
        _PRESET,
        *(["--config", str(config)] if config else []),
        "--set",
        f"prepare.source={source}",
    ]
    given = [text for text in settings if not text.startswith("prepare.source=")]
    words += [word for text in given for word in ("--set", text)]
    try:
        check_source(found.config, parse_place(resolve_root("")).uri)
    except ConfigError:
        words += ["--root", _ELSEWHERE]  # because the source holds the usual root
    return shlex.join(words)


def _show(found: "Inspection", command: str, picture: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    rows = [
        ("kind", found.kind_line),
        ("images", f"{found.images:,} found, {found.sample.images:,} of them looked at"),
        ("splits", found.splits_line),
        ("classes", found.classes_line),
        *(("left out", line) for line in found.left_out),
        ("formats", ", ".join(f"{name} ({count:,})" for name, count in found.sample.formats.items())),
        ("sizes", found.sizes_line),
        (
            "become",
            f"{size_text(found.config.image_size)}x{found.config.channels}: {found.facts['fit']}",
        ),
        *(("warning", line) for line in found.warnings),
        *([("picture", str(picture))] if picture else []),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for label, line in rows:
        if line:
            table.add_row(label, Text(line))  # a text has no markup, and a name such as [1] looks like some
    console.print(table)
    if found.classes:
        console.print()
        console.print(_class_table(found))
    if found.advice:
        console.print()
        for one in found.advice:
            line = f"--set {one.setting:<32} {one.effect}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"\n{command}", soft_wrap=True, highlight=False, markup=False)


def _class_table(found: "Inspection") -> object:
    from rich.table import Table
    from rich.text import Text

    has_splits = bool(found.facts["splits_from"])
    columns = ("train", "test") if has_splits else ("images",)
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("class", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for name, counts in list(found.classes.items())[:_MOST_CLASSES]:
        numbers = [counts.get(column, 0) for column in columns] if has_splits else [sum(counts.values())]
        table.add_row(Text(name), *(f"{number:,}" for number in numbers))
    if len(found.classes) > _MOST_CLASSES:
        table.add_row(f"{len(found.classes) - _MOST_CLASSES:,} more", *("" for _ in columns))
    return table
