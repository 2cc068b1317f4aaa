"""`ddpm run`, and the pipeline up to a stage, without Prefect: `ddpm prepare`, `train`, `sample`, `evaluate`."""

import contextlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import load_config, validated, without_effect
from flows.runtime.settings import RunSettings
from flows.stages.table import STAGES
from infra.compute.cluster import Mode
from infra.errors import ConfigError, DdpmError

_PRESET: str = "digits"
Preset = Annotated[str, typer.Argument(help=f"One of {', '.join(PRESETS)}.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML or JSON file of settings, in a table per stage.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.SETTING=VALUE", help="Change a setting; repeat for more.")
]
Root = Annotated[
    str,
    typer.Option("--root", help="Folder of all outputs, or s3://bucket/prefix. Default: DDPM_ROOT, else ./ddpm-runs."),
]
Name = Annotated[str, typer.Option("--name", help="Name of the run. Default: the preset and what differs from it.")]
Force = Annotated[bool, typer.Option("--force", help="Compute every stage anew, beside what is sealed.")]
StrictEnvironment = Annotated[
    bool,
    typer.Option(
        "--strict-environment",
        help="Refuse to go on with an output that was begun in another environment, or on nodes that differ.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait while another run holds this run or an output, or end at once.")
]
Patience = Annotated[
    float,
    typer.Option(
        "--patience",
        metavar="MINUTES",
        help="Wait so long for room on a cluster: for its autoscaler's nodes, or for lost ones to return.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="MINUTES", help="Save what there is and end after so long; 0 for no limit. `run` alone."
    ),
]
Tracking = Annotated[bool, typer.Option("--tracking/--no-tracking", help="Track the run in MLflow, or not.")]
RegisterAs = Annotated[
    str,
    typer.Option(
        "--register-as",
        metavar="NAME",
        help="Register the network in MLflow; if it is better, it becomes the champion.",
    ),
]
ChampionBy = Annotated[
    str,
    typer.Option(
        "--champion-by",
        metavar="FIGURE",
        help="Figure that decides on the champion. Default: the first of the table with a standard error.",
    ),
]
InProcess = Annotated[bool, typer.Option("--in-process", help="Without Ray: one worker in this process.")]
Execution = Annotated[
    str,
    typer.Option(
        "--execution",
        metavar="here|job",
        help="job: each stage runs on the cluster as a Ray job, which outlives this command.",
    ),
]
RayJobs = Annotated[
    str,
    typer.Option(
        "--ray-jobs",
        metavar="URL",
        help="Address of Ray's jobs server, such as http://head:8265. Default: RAY_API_SERVER_ADDRESS.",
    ),
]


class _StageCommand(TyperCommand):
    """A command named like a stage; its help ends with the stage's settings, their defaults and their descriptions."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types are private
        (config,) = (stage.config for stage in STAGES if stage.name == ctx.info_name)
        values = getattr(preset(_PRESET), str(ctx.info_name)).model_dump(mode="json")
        with formatter.section(f"Settings, for --set and --config, with their values in the preset {_PRESET}"):
            formatter.write_dl(
                [
                    (f"{ctx.info_name}.{name}", f"{field.description}.  [{_PRESET}: {json.dumps(values[name])}]")
                    for name, field in config.model_fields.items()
                ]
            )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    with_settings = [stage for stage in STAGES if stage.config is not type(None)]
    settings = " and ".join(f"`ddpm {stage.name} --help`" for stage in with_settings).replace(
        " and ", ", ", len(with_settings) - 2
    )
    app.command(
        "run",
        help="Run the whole pipeline. Stages that are sealed already are not run again.",
        epilog=f"{settings} list the settings.",
    )(_command(run_flow))
    for stage in with_settings:
        last = stage.name if stage is not with_settings[-1] else ""
        about = f"{stage.about} Runs the pipeline up to this stage, without Prefect."
        first = stage is STAGES[0]
        app.command(stage.name, cls=_StageCommand, help=about)(_command(_StagesUpTo(last), together=not first))


def _command(work: Callable[[PipelineConfig, RunSettings], None], *, together: bool = True) -> Callable[..., None]:
    """Make a command of some work, with the options that all these commands share.

    Args:
        work: Receives the config and the run's settings.
        together: Also check the rules between stages.
    """

    def command(  # noqa: PLR0913 - one per option
        preset: Preset = _PRESET,
        config: ConfigFile = None,
        setting: Settings = None,
        root: Root = "",
        name: Name = "",
        force: Force = False,
        strict_environment: StrictEnvironment = False,
        wait: Wait = True,
        patience: Patience = 10.0,
        timeout: Timeout = 0.0,
        tracking: Tracking = True,
        register_as: RegisterAs = "",
        champion_by: ChampionBy = "",
        in_process: InProcess = False,
        execution: Execution = "here",
        ray_jobs: RayJobs = "",
    ) -> None:
        work(*chosen(locals(), together=together))

    return command


def chosen(options: Mapping[str, Any], *, together: bool = True) -> tuple[PipelineConfig, RunSettings]:
    """Return the config and the run's settings that a command's options name; say which settings have no effect.

    Args:
        options: The values of the command's parameters by name; others are ignored.
        together: Also check the rules between stages.

    Raises:
        ConfigError: If any of them is wrong.
    """
    file, settings = options["config"], options["setting"] or []
    config = load_config(options["preset"], file, settings, together=together)
    say_unused(without_effect(config, file, settings))
    mode: Mode = "in-process" if options["in_process"] else "ray"
    run = {name: value for name, value in options.items() if name in RunSettings.model_fields}
    return config, validated(RunSettings, run | {"mode": mode})


def run_flow(config: PipelineConfig, settings: RunSettings) -> None:
    """Run the whole pipeline as a Prefect flow in this process.

    Raises:
        DdpmError: If a stage fails.
        Interrupted: If the run is stopped, here or from outside.
    """
    from flows.root import resolve_root
    from infra.services.prefect.api import prefect_api

    with contextlib.ExitStack() as stack:

        def meanwhile() -> None:
            from flows.recipe.run import open_run_cluster, prefetch

            importlib.import_module("flows.pipeline")
            prefetch(config, settings, stack.enter_context(open_run_cluster(config, settings)))

        stack.enter_context(prefect_api(resolve_root(settings.root), say=say_aside, meanwhile=meanwhile))
        from flows.pipeline import pipeline
        from infra.services.prefect.run.stops import stops_passed_on

        groups = {stage: getattr(config, stage).model_dump(mode="json") for stage in type(config).model_fields}
        named = {"name", "root", "preset", "until"}
        state = None
        with stops_passed_on():
            state = pipeline(
                **settings.model_dump(include=named),
                **groups,
                run=settings.model_dump(exclude=named),
                return_state=True,
            )
    if state is not None and isinstance(error := state.result(raise_on_failure=False), DdpmError):
        raise error


def say_unused(paths: Sequence[str]) -> None:
    """Name settings without effect on stderr."""
    for path in paths:
        say_aside(f"{path} has no effect: nothing that is chosen uses it")


def say_aside(line: str) -> None:
    """Print a line to stderr, under the program's name."""
    typer.echo(f"ddpm: {line}", err=True)


class _StagesUpTo:
    """Runs the stages in this process, up to `last` or all if it is empty."""

    def __init__(self, last: str) -> None:
        self._last = last

    def __call__(self, config: PipelineConfig, settings: RunSettings) -> None:
        from functools import partial

        from flows.recipe.run import recipe_surroundings, steps
        from flows.runtime.runner import run_stage

        if self._last and settings.register_as:
            raise ConfigError(
                f"{self._last} measures no network",
                item="--register-as",
                remedy="register with `ddpm run` or `evaluate`",
            )
        if settings.timeout:
            raise ConfigError(
                "Prefect keeps the time, and no Prefect runs here",
                item="--timeout",
                remedy="use `ddpm run`, or end this command by SIGTERM, which saves what there is",
            )
        with recipe_surroundings(config, settings):
            for _ in steps(config, settings, lambda stage: partial(run_stage, stage), self._last):
                pass
