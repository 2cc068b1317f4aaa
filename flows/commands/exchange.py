"""`ddpm export` and `ddpm import`: convert snapshots to diffusers folders and back."""

from typing import Annotated, Literal

import typer

from flows.commands.run import Root


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export")(export_snapshot)
    app.command("import")(import_folder)


def export_snapshot(
    snapshot: Annotated[
        str,
        typer.Argument(
            help="A snapshot file, train/KEY/snapshots/FILE.safetensors below the root of all outputs, or its URL; "
            "or a registered model, models:/NAME@ALIAS or models:/NAME/VERSION."
        ),
    ],
    folder: Annotated[str, typer.Argument(help="The folder to make, for diffusers' DDPMPipeline.from_pretrained.")],
    variance: Annotated[
        Literal["fixed_small", "fixed_large"],
        typer.Option("--variance", help="Variance of the reverse steps, if the network has learned none."),
    ] = "fixed_large",
    root: Root = "",
) -> None:
    """Write a trained network as a diffusers folder. It holds a UNet2DModel and a DDPMScheduler."""
    from ddpm_core.choices import Variance
    from flows.exchange import folder as exchange

    typer.echo(f"{folder}  {exchange.export_snapshot(snapshot, folder, Variance(variance), root=root)}")


def import_folder(
    folder: Annotated[
        str, typer.Argument(help="A folder that diffusers saved, with a UNet2DModel and a DDPMScheduler.")
    ],
    snapshot: Annotated[str, typer.Argument(help="The snapshot file to make.")],
) -> None:
    """Write a diffusers network as a snapshot. Settings that our network does not support are refused by name."""
    from flows.exchange import folder as exchange

    typer.echo(f"{snapshot}  {exchange.import_folder(folder, snapshot)}")
