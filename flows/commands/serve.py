"""`ddpm serve`: one deployment per preset, to schedule from the Prefect UI."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.run import Root
from flows.recipe.presets.table import PRESETS
from infra.errors import ConfigError, ResourceError
from infra.storage.uri import parse_place

if TYPE_CHECKING:
    from infra.services.prefect.api import PrefectApi
    from infra.services.prefect.deployments import Deployment, ServedDeployment

_UI_PORT = 4200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_deployments)


def serve_deployments(
    root: Root = "",
    port: Annotated[
        int,
        typer.Option(
            "--port", min=1, max=65535, help="Port of our own Prefect server; not used if PREFECT_API_URL is set."
        ),
    ] = _UI_PORT,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most runs at a time.")] = 1,
) -> None:
    """Serve a deployment per preset to the Prefect UI. There you start and schedule runs; Ctrl-C stops serving."""
    from flows.root import resolve_root
    from infra.services.prefect.api import prefect_api

    where = parse_place(resolve_root(root)).uri
    with prefect_api(where, port=port, serve=True, say=_say) as api:
        from flows.pipeline import pipeline
        from infra.services.prefect.automations import install, shipped
        from infra.services.prefect.deployments import register as register_deployment

        served = [register_deployment(pipeline, _deployment(name, where)) for name in PRESETS]
        install(shipped(pipeline.name), _say)
        typer.echo(f"deployments {', '.join(PRESETS)} at {api.ui}; stop with Ctrl-C")
        _serve(served, limit, api)


def _serve(served: "list[ServedDeployment]", limit: int, api: "PrefectApi") -> None:
    from infra.services.prefect.deployments import pause
    from infra.services.prefect.runner import ServingRunner

    runner = ServingRunner(served, limit, _say, waiting=f"a run waits: {limit} at a time (--limit)")
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


def _deployment(name: str, root: str) -> "Deployment":
    from flows.recipe.form import changed
    from flows.recipe.form_schema import form_schema
    from infra.services.prefect.deployments import Deployment

    def accepts(parameters: dict[str, Any]) -> bool:
        try:
            changed(parameters)
        except ConfigError:
            return False
        return True

    return Deployment(
        name=name,
        description=f"{PRESETS[name].about} An empty field has the recipe's value.",
        parameters={"preset": name, "root": root},
        schema=form_schema(name),
        tags=["ddpm", name],
        accepts=accepts,
    )


def _say(line: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')}  {line}", err=True)
