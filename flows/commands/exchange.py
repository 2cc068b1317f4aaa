"""`ddpm export` and `ddpm import`: images and networks for other programs, and networks from them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ddpm_core.choices import Variance
from flows.commands.run import Root
from flows.exchange.choices import NETWORKS, Channels, ExportFormat, ExportSplit, default_channels
from flows.points import split_name
from infra.errors import ConfigError

if TYPE_CHECKING:
    from flows.run import Run
    from flows.stage import Progress

_SUFFIX = ".safetensors"
_MODEL = "models:/"
_NAME = "export"
_OF_IMAGES, _OF_NETWORKS = frozenset({"--split", "--limit", "--channels"}), frozenset({"--variance", "--ema"})


def _lines(options: type[ExportFormat | ExportSplit | Channels]) -> str:
    return "; ".join(f"{option}: {option.description}" for option in options)


Source = Annotated[
    str,
    typer.Argument(
        help="A finished run, by its name or the digits at its end; for a network along its training RUN@best or "
        "RUN@IMAGES; or a snapshot file: "
        f"train/KEY/snapshots/FILE{_SUFFIX} below the root of all outputs, or its URL; "
        "or a registered model, models:/NAME@ALIAS or models:/NAME/VERSION."
    ),
]
To = Annotated[
    ExportFormat | None,
    typer.Option("--to", help=f"{_lines(ExportFormat)}. Default for a snapshot file and for a point: diffusers."),
]
Split = Annotated[ExportSplit | None, typer.Option("--split", help=f"{_lines(ExportSplit)}. Default: samples.")]
InChannels = Annotated[
    Channels | None,
    typer.Option("--channels", help=f"{_lines(Channels)}. Default: rgb for npz, else as-is."),
]
OfVariance = Annotated[
    Literal["fixed_small", "fixed_large"] | None,
    typer.Option(
        "--variance",
        help="Variance of the reverse steps for diffusers, if the network has learned none. "
        "Default: that of the run's samples, else fixed_large.",
    ),
]
EmaLength = Annotated[
    float | None,
    typer.Option(
        "--ema",
        help="EMA length of the network, as a share of training (sigma_rel): rebuilt from the averages that a run "
        "with train.averages stored. Default: the run's own average.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(_NAME)(export)
    app.command("import")(import_folder)


def export(
    source: Source,
    destination: Annotated[str, typer.Argument(help="The local file or folder to make.")],
    to: To = None,
    split: Split = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many images.")] = None,
    channels: InChannels = None,
    variance: OfVariance = None,
    ema: EmaLength = None,
    root: Root = "",
) -> None:
    """Write a run's images or its network for other programs.

    After an interruption the same command goes on with a folder of PNG files, and begins any other format anew.
    """
    options: dict[str, object] = {
        "--split": split,
        "--limit": limit,
        "--channels": channels,
        "--variance": variance,
        "--ema": ema,
    }
    is_file = Path(source).is_file() or "/" in source or source.endswith(_SUFFIX)
    name, point = (source, "") if is_file else split_name(source)
    if to is None and (is_file or point):
        to = ExportFormat.DIFFUSERS
    if to is None:
        raise ConfigError(
            "a run holds images and a network", item="--to", remedy=f"choose one of {', '.join(ExportFormat)}"
        )
    _check_options(to, options)
    if is_file:
        line = _export_file(source, destination, to, variance, ema, root)
    else:
        from flows.run import open_run

        run = open_run(name, root)
        if to in NETWORKS:
            line = _export_network(run, point, destination, to, variance, ema)
        elif point:
            remedy = "give the name of the run alone"
            raise ConfigError("a point of training holds no images", item=source, remedy=remedy)
        else:
            line = _export_images(run, destination, to, split or ExportSplit.SAMPLES, limit, channels)
    typer.echo(f"{destination}  {line}")


def import_folder(
    folder: Annotated[
        str, typer.Argument(help="A folder that diffusers saved, with a UNet2DModel and a DDPMScheduler.")
    ],
    snapshot: Annotated[str, typer.Argument(help="The snapshot file to make.")],
) -> None:
    """Write a diffusers network as a snapshot. Settings that our network does not support are refused by name."""
    from flows.exchange import folder as exchange

    typer.echo(f"{snapshot}  {exchange.import_folder(folder, snapshot)}")


def _check_options(to: ExportFormat, given: dict[str, object]) -> None:
    """Refuse an option that would have no effect."""
    without_effect = _OF_IMAGES if to in NETWORKS else _OF_NETWORKS
    if to is ExportFormat.SNAPSHOT:
        without_effect |= {"--variance"}
    for option, value in given.items():
        if value is not None and option in without_effect:
            raise ConfigError(f"has no effect with --to {to}", item=option, remedy="leave it out")


def _export_file(
    snapshot: str, destination: str, to: ExportFormat, variance: str | None, ema: float | None, root: str
) -> str:
    from flows.exchange.folder import export_snapshot, write_snapshot
    from flows.snapshot import read_snapshot, shown_address

    if ema is not None:
        raise ConfigError("a snapshot file holds one average", item="--ema", remedy="give the name of a run")
    if to is ExportFormat.SNAPSHOT:
        return write_snapshot(read_snapshot(snapshot, root=root), shown_address(snapshot), destination)
    if to is not ExportFormat.DIFFUSERS:
        holder = "a network" if snapshot.startswith(_MODEL) else "a snapshot file"
        raise ConfigError(f"{holder} holds no images", item=snapshot, remedy="give the name of a run")
    return export_snapshot(snapshot, destination, Variance(variance or Variance.FIXED_LARGE), root=root)


def _export_network(
    run: "Run", point: str, destination: str, to: ExportFormat, variance: str | None, ema: float | None
) -> str:
    from flows.exchange.folder import export_network, write_snapshot
    from flows.exchange.origin import PointOrigin, RunOrigin
    from flows.points import find_point
    from infra.outputs.environments import environment_in_words

    data, item = run.snapshot_file(point, ema=ema)
    if to is ExportFormat.SNAPSHOT:
        return write_snapshot(data, item, destination)
    of_run = RunOrigin(
        name=run.name,
        settings=run.settings,
        environments={stage: environment_in_words(manifest) for stage, manifest in run.manifests.items()},
        dataset=run.dataset,
        snapshot=run.snapshot,
        samples=run.samples,
        figures=run.figures,
    )
    of_samples = run.settings["sample.variance"]
    chosen = variance or (of_samples if of_samples in ("fixed_small", "fixed_large") else Variance.FIXED_LARGE)
    of_point = PointOrigin(run=of_run, point=find_point(run.points(), point, run.name)) if point else None
    return export_network(data, item, destination, Variance(chosen), of_point or of_run)


def _export_images(
    run: "Run", destination: str, to: ExportFormat, split: ExportSplit, limit: int | None, channels: Channels | None
) -> str:
    from flows.exchange.image_export import export_images
    from flows.exchange.selection import Selection

    selection = Selection(
        reader=run.reader(split.value),
        split=split,
        limit=limit,
        channels=channels or default_channels(to),
        class_names=run.dataset.class_names,
    )
    with _progress() as on_progress:
        return export_images(selection, to, destination, on_progress)


@contextlib.contextmanager
def _progress() -> "Iterator[Callable[[Progress], None]]":
    """Show the progress beside the result, on standard error; an interruption names the work that is kept."""
    from rich.console import Console

    from flows.runtime.progress import StageProgress

    with StageProgress(Console(stderr=True), None) as progress:
        try:
            yield lambda update: progress(_NAME, update)
        except BaseException as error:
            progress.stopped(_NAME)
            if last := progress.last(_NAME):
                error.add_note(f"{_NAME} keeps {last.kept:,} of {last.total:,} {last.unit}")
            raise
