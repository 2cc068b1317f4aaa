"""`ddpm sweep`: the runs of a grid of settings, and the table that compares them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.run import (
    ConfigFile,
    Execution,
    InProcess,
    Patience,
    Preset,
    RayJobs,
    Root,
    Settings,
    Tracking,
    Wait,
    run_flow,
    say_aside,
    say_unused,
)
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config, validated, without_effect
from flows.recipe.sweep_settings import SweepSettings
from flows.runtime.settings import RunSettings
from infra.errors import ConfigError

if TYPE_CHECKING:
    from flows.sweep.plan import SweepPlan
    from flows.sweep.view import SweepView

_PRESET = "digits"
_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sweep")(sweep)
    app.command("sweep-run", hidden=True)(sweep_run)


def sweep(  # noqa: PLR0913 - one per option
    preset: Preset = _PRESET,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="STAGE.SETTING=VALUE,VALUE",
            help="A setting and its values; repeat for the product of several settings.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Runs per combination, each with seeds of its own.")
    ] = 1,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=64, help="Most runs at a time.")] = 1,
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="FIGURE", help="Figure that ranks the rows. Default: the first one with a standard error."
        ),
    ] = "",
    config: ConfigFile = None,
    setting: Settings = None,
    root: Root = "",
    name: Annotated[
        str, typer.Option("--name", help="Name of the sweep. Default: the preset, the settings of the grid and digits.")
    ] = "",
    wait: Wait = True,
    patience: Patience = 10.0,
    tracking: Tracking = True,
    in_process: InProcess = False,
    execution: Execution = "here",
    ray_jobs: RayJobs = "",
) -> None:
    """Run a grid of settings and compare the figures of its runs, which share sealed stages."""
    values = load_config(preset, config, setting or [])
    say_unused(without_effect(values, config, setting or []))
    run: dict[str, Any] = {"name": name, "preset": preset, "root": root, "tracking": tracking, "wait": wait}
    run |= {"patience": patience, "execution": execution, "ray_jobs": ray_jobs}
    settings = validated(RunSettings, run | {"mode": "in-process" if in_process else "ray"})
    choices = validated(SweepSettings, {"grid": grid or [], "seeds": seeds, "at_once": at_once, "by": by})
    from flows.sweep.plan import plan_sweep

    plan = plan_sweep(values, preset, name, choices, say_aside)
    _say_without_effect(plan)
    _run(plan, settings, choices)


def _run(plan: "SweepPlan", settings: RunSettings, choices: SweepSettings) -> None:
    from flows.root import resolve_root
    from flows.sweep.running import finish, page_of, run_sweep
    from flows.sweep.sweep import open_sweep
    from infra.services.prefect.api import prefect_api

    opened = open_sweep(plan, settings, choices, typer.echo)
    # One server for all runs, which find its address in their environment.
    _print(run_sweep(opened, around=lambda: prefect_api(resolve_root(settings.root), say=say_aside)))
    typer.echo(f"{'page':<9} {page_of(opened)}")
    finish(opened)


def _say_without_effect(plan: "SweepPlan") -> None:
    """Name the settings of the grid that no combination uses."""
    configs = [run.config for run in plan.runs]
    for axis in plan.axes:
        stage, _, name = axis.path.partition(".")
        if all(name in getattr(config, stage).unused() for config in configs):
            say_unused([axis.path])


def _print(view: "SweepView") -> None:
    from rich.console import Console

    from flows.sweep.view import show

    show(view, Console() if Console().is_terminal else Console(width=_WIDTH))


def sweep_run(spec: Annotated[Path, typer.Argument(help="A JSON file with the settings of the run.")]) -> None:
    """Run one run of a sweep from its file."""
    try:
        values = json.loads(spec.read_text(encoding="utf-8"))
        config, run = values["config"], values["run"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError("is not the file of a run", item=str(spec)) from error
    run_flow(validated(PipelineConfig, config), validated(RunSettings, run))
