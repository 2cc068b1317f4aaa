"""`ddpm serve`: deployments of the presets or of your own recipe, to start and schedule from the Prefect UI."""

import ipaddress
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import ConfigFile, Root, Settings, say_unused
from flows.recipe.presets.table import PRESETS
from flows.recipe.served import SET_BY_US, ServedRecipe, own_recipe, served_preset, served_presets
from flows.recipe.settings import without_effect
from infra.errors import ConfigError, ConflictError, ResourceError
from infra.services.prefect.settings import PAGES_PORT
from infra.storage.uri import parse_place

if TYPE_CHECKING:
    from pathlib import Path

    from infra.services.prefect.api import PrefectApi
    from infra.services.prefect.deployments import Deployment, ServedDeployment
    from infra.services.prefect.schedule import Schedule

_UI_HOST = "127.0.0.1"
_FIRST = next(iter(PRESETS))
_Start = Annotated[
    str,
    typer.Argument(
        metavar="[PRESET]",
        help=f"The preset that your recipe starts from, one of {', '.join(PRESETS)}. Without it and without --config, "
        "--set and --name, every preset is served as it is.",
    ),
]
_Name = Annotated[
    str,
    typer.Option(
        "--name", help="Name of your recipe and of its runs. Default: the file's, else the preset and what differs."
    ),
]
_Stages = Annotated[
    bool, typer.Option("--stages", help="Also serve your recipe up to each stage, as NAME-prepare and so on.")
]
_Cron = Annotated[
    str, typer.Option("--cron", metavar="EXPRESSION", help="Run your recipe by this schedule, such as '0 3 * * *'.")
]
_Timezone = Annotated[
    str, typer.Option("--timezone", metavar="NAME", help="Time zone of --cron, such as Europe/Vienna.")
]
_Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Tag of the deployments, to filter by; repeat for more.")
]
_Port = Annotated[
    int,
    typer.Option(
        "--port", min=1, max=65535, help="Port of our own Prefect server; not used if PREFECT_API_URL is set."
    ),
]
_Host = Annotated[
    str,
    typer.Option(
        "--host", help="Address that our own Prefect server listens on; 0.0.0.0 for every network of this machine."
    ),
]
_Limit = Annotated[int, typer.Option("--limit", min=1, help="Most runs at a time.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_deployments)


def serve_deployments(  # noqa: PLR0913 - one per option
    preset: _Start = "",
    config: ConfigFile = None,
    setting: Settings = None,
    name: _Name = "",
    stages: _Stages = False,
    cron: _Cron = "",
    timezone: _Timezone = "UTC",
    tag: _Tags = None,
    root: Root = "",
    port: _Port = PAGES_PORT,
    host: _Host = _UI_HOST,
    limit: _Limit = 1,
) -> None:
    """Serve deployments to the Prefect UI, a preset each or your own recipe. There you start and schedule runs.

    Ctrl-C stops serving: the runs at work save what they have, and the deployments are paused until the next start.
    """
    from flows.root import resolve_root
    from infra.services.prefect.api import prefect_api

    recipes = _recipes(preset, config, setting or [], name, stages=stages, cron=cron)
    where = parse_place(resolve_root(root)).uri
    with prefect_api(where, port=port, host=host, serve=True, say=say) as api, serving_alone(recipes, api):
        named = bool(preset or config or setting or name)
        served = registered(where, recipes, _schedule(cron, timezone), tag or [], keeps_schedules=not named)
        if api.server is not None and not _is_loopback(host):
            say(_warning(host, port))
        for line in _schedule_lines(recipes, cron, timezone):
            typer.echo(line)
        typer.echo(f"deployments {', '.join(recipe.name for recipe in recipes)} at {api.ui}; stop with Ctrl-C")
        work_off(served, limit, api)


@contextmanager
def serving_alone(recipes: Sequence[ServedRecipe], api: "PrefectApi") -> Iterator[None]:
    """Refuse to serve deployments that another process serves from the same Prefect server, or is about to serve.

    Nobody else serves from a server of our own, which has just started.

    Raises:
        ConflictError: If one does.
    """
    if api.server is not None:
        yield
        return
    from flows.pipeline import pipeline
    from infra.outputs.lease_holder import Holder
    from infra.services.prefect.claims import claimed
    from infra.services.prefect.deployments import served_by_others

    names = [recipe.name for recipe in recipes]
    with ExitStack() as stack:
        try:
            if others := served_by_others(pipeline.name, names, say):
                raise ConflictError(f"another process serves {', '.join(others)}")
            holder = Holder.here("ddpm serve", datetime.now(UTC))
            stack.enter_context(claimed(pipeline.name, names, holder, say))
        except ConflictError as error:
            raise ConflictError(
                f"{error.cause} from it",
                item=f"Prefect server {api.ui}",
                remedy="stop that one, or serve a recipe of your own under another --name",
            ) from error
        yield


def registered(
    where: str,
    recipes: Sequence[ServedRecipe] | None = None,
    schedule: "Schedule | None" = None,
    tags: Sequence[str] = (),
    *,
    keeps_schedules: bool = True,
) -> "list[ServedDeployment]":
    """Register a deployment per recipe for a root, and the automations; return the deployments.

    Args:
        where: The root of all outputs.
        recipes: The recipes; every preset if it is None.
        schedule: The schedule of the first one; None for none.
        tags: Tags of all of them, beside their own.
        keeps_schedules: Whether the schedules of earlier commands stay, as of one that names no recipe.
    """
    from flows.pipeline import pipeline
    from infra.services.prefect.automations import install, shipped
    from infra.services.prefect.deployments import register as register_deployment

    served = []
    for number, recipe in enumerate(served_presets() if recipes is None else recipes):
        made = _deployment(recipe, where, None if number else schedule, tags)
        served.append(register_deployment(pipeline, replace(made, keeps_schedule=keeps_schedules)))
    install(shipped(pipeline.name), say)
    return served


def work_off(served: "list[ServedDeployment]", limit: int, api: "PrefectApi") -> None:
    """Work off the runs of deployments until a signal comes; then stop them, each with time to save.

    Raises:
        ResourceError: If our own Prefect server ended for good.
        StorageError: If somebody else's is away for too long.
    """
    from infra.services.prefect.deployments import pause
    from infra.services.prefect.runner import ServingRunner

    runner = ServingRunner(served, limit, say, waiting=f"a run waits: {limit} at a time (--limit)")
    runner.start()
    try:
        while api.server is None or not api.server.gone.is_set():
            runner.watch()
            if api.server is not None:
                runner.finish_cancelling()
        raise ResourceError(
            "the Prefect server ended", item=str(api.server.log), remedy="see the log, then serve again"
        )
    finally:
        try:
            pause(served)
        finally:
            runner.stop()


def say(line: str) -> None:
    """Print a line with the time."""
    typer.echo(f"{time.strftime('%H:%M:%S')}  {line}", err=True)


def _recipes(
    preset: str, config: "Path | None", settings: Sequence[str], name: str, *, stages: bool, cron: str
) -> list[ServedRecipe]:
    """Return the recipes that a command line names: every preset, or one recipe, with each of its stages."""
    changed = config is not None or bool(settings) or bool(name)
    if not changed and not preset:
        for option, is_set in (("--cron", bool(cron)), ("--stages", stages)):
            if is_set:
                raise ConfigError(
                    "needs one recipe, and every preset is served",
                    item=option,
                    remedy=f"name the preset, such as `ddpm serve {_FIRST} {option}`, or add --config or --set",
                )
        return served_presets()
    recipe = own_recipe(preset or _FIRST, config, settings, name) if changed else served_preset(preset)
    say_unused(without_effect(recipe.config, config, settings))
    return [recipe, *(recipe.up_to_each_stage if stages else [])]


def _schedule(cron: str, timezone: str) -> "Schedule | None":
    from infra.services.prefect.schedule import check_timezone, cron_schedule

    check_timezone(timezone)
    return cron_schedule(cron, timezone) if cron else None


def _schedule_lines(recipes: Sequence[ServedRecipe], cron: str, timezone: str) -> list[str]:
    return [f"schedule {cron} ({timezone}) of {recipes[0].name}"] if cron else []


def _deployment(recipe: ServedRecipe, root: str, schedule: "Schedule | None", tags: Sequence[str]) -> "Deployment":
    from infra.services.prefect.deployments import Deployment

    return Deployment(
        name=recipe.name,
        description=recipe.description,
        parameters=recipe.parameters(root),
        schema=recipe.schema,
        tags=[*recipe.tags, *tags],
        accepts=recipe.accepts,
        ours=SET_BY_US,
        schedule=schedule,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warning(host: str, port: int) -> str:
    """Return the line on what becomes reachable."""
    from infra.services.prefect.settings import server_key

    reach = f"port {port} is open at {host}: its pages show every run, and start new ones"
    if server_key():
        return f"{reach}, for those who have the key of PREFECT_SERVER_API_AUTH_STRING; nothing is encrypted"
    return f"{reach}, for everybody who reaches it; PREFECT_SERVER_API_AUTH_STRING=user:password asks for a key"
