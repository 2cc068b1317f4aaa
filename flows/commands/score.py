"""`ddpm score` and `ddpm statistics`: the metrics of any two collections of images, and the statistics of one."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.file_option import check_folder, write_file
from flows.commands.run import InProcess, Root, Settings, say_aside, say_unused
from flows.recipe.settings import load_config, validated
from flows.runtime.settings import RunSettings

if TYPE_CHECKING:
    from flows.recipe.config import PipelineConfig
    from flows.stage import Context

_PRESET = "folder"
_NAME = "score"
_SIDE = "A folder, archive, glob or s3:// URI of images; a run's name for its samples, or NAME/train or NAME/test"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("score")(score_images)
    app.command("statistics")(write_statistics)


def score_images(
    images: Annotated[str, typer.Argument(help=f"The images to judge. {_SIDE}.")],
    reference: Annotated[
        str, typer.Argument(help="The images to compare them with, named likewise; or an .npz file with mu and sigma.")
    ],
    setting: Settings = None,
    root: Root = "",
    json_file: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Also write the figures and their provenance as JSON.")
    ] = "",
    in_process: InProcess = False,
) -> None:
    """Compute the metrics of two collections of images: all that compare images, or those of evaluate.metrics.

    All images of both sides are taken as they are; prepare.* and evaluate.* settings change that.
    """
    from flows.artifacts import figure_text
    from flows.provenance import read_provenance
    from flows.runtime.result import table
    from flows.scoring.score import metrics_of_images, score
    from flows.scoring.settings import unused_settings

    if json_file:
        check_folder(Path(json_file), f"--json {json_file}")
    values, given = _settings(setting or [])
    wanted = values.evaluate
    metrics = wanted.metrics if "evaluate.metrics" in given else metrics_of_images(wanted.extractor)
    say_unused(unused_settings([images, reference], values, given, metrics))
    with _context(values, root, in_process=in_process) as (context, say):
        found = score(images, reference, values, given, context)
        for line in found.left_out:
            say_aside(line)
        figures = found.figures
        say(table([(figure.label, figure_text(figure), figure.note) for figure in figures.figures if figure.headline]))
        provenance = read_provenance(figures.manifest(context.store))
    if json_file:
        rows = [asdict(figure) for figure in figures.figures]
        facts = {"figures": rows, "provenance": [part.as_json() for part in provenance]}
        write_file(Path(json_file), json.dumps(facts, indent=2).encode())


def write_statistics(
    images: Annotated[str, typer.Argument(help=f"{_SIDE}.")],
    file: Annotated[Path, typer.Argument(help="The .npz file to make, with mu and sigma as pytorch-fid reads them.")],
    setting: Settings = None,
    root: Root = "",
    in_process: InProcess = False,
) -> None:
    """Write mean and covariance of the features of images, as a reference for others and for `ddpm score`."""
    from flows.scoring.score import collect_statistics
    from flows.scoring.settings import unused_settings

    check_folder(file, str(file))
    values, given = _settings(setting or [])
    say_unused(unused_settings([images], values, given, []))
    with _context(values, root, in_process=in_process) as (context, _):
        data = collect_statistics(images, values, given, context)
    write_file(file, data)
    typer.echo(f"{file}  {len(data):,} bytes")


def _settings(given: Sequence[str]) -> "tuple[PipelineConfig, list[str]]":
    """Return all settings, and the names of those that were given, in their order."""
    values = load_config(_PRESET, None, given, together=False)
    return values, [text.partition("=")[0].strip() for text in given]


@contextmanager
def _context(
    values: "PipelineConfig", root: str, *, in_process: bool
) -> "Iterator[tuple[Context, Callable[[Any], None]]]":
    from flows.root import resolve_root
    from flows.runtime.surroundings import announced, open_surroundings
    from flows.stage import Context
    from infra.storage.open import open_store

    mode = "in-process" if in_process else "ray"
    settings = validated(RunSettings, {"name": _NAME, "root": root, "mode": mode, "tracking": False})
    cpus = max(values.prepare.cpus, values.evaluate.cpus)
    store = open_store(resolve_root(root))
    with announced(settings, store), open_surroundings(settings, cpus, lambda _: None) as around:
        around.store.make()
        context = Context(
            store=around.store,
            cluster=around.cluster,
            on_progress=lambda progress: around.progress(_NAME, progress),
            lease=around.lease,
            say=say_aside,
        )
        yield context, lambda rows: around.console.print(rows, highlight=False)
