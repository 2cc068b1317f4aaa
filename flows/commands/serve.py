"""`ddpm serve`: one deployment a preset, to schedule from the Prefect UI."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.run import Root
from flows.recipe.presets import PRESETS, PresetName
from infra.errors import ConfigError, ResourceError
from infra.storage.uri import parse_place

if TYPE_CHECKING:
    from infra.services.prefect import PrefectApi
    from infra.services.prefect_runner import Deployment, ServedDeployment

_UI_PORT = 4200
_ABOUT = {
    "digits": "scikit-learn's 8×8 digits: minutes on two CPU cores, to see the whole pipeline work.",
    "fashion-mnist": "Fashion-MNIST, 28×28 grey: hours on two CPU cores, minutes on a GPU.",
    "folder": "Your own images with the paper's CIFAR-10 network, for GPUs: fill in where they are.",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_deployments)


def serve_deployments(
    root: Root = "",
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Of our own Prefect server; PREFECT_API_URL wins.")
    ] = _UI_PORT,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Runs at a time.")] = 1,
) -> None:
    """Serve one deployment a preset until stopped; schedule and start runs from the Prefect UI."""
    from flows.runtime.root import resolve_root
    from infra.services.prefect import prefect_api

    where = parse_place(resolve_root(root)).uri
    with prefect_api(where, port=port, serve=True, say=_say) as api:
        from flows.pipeline import pipeline
        from infra.services.prefect_runner import register as register_deployment

        served = [register_deployment(pipeline, _deployment(name, where)) for name in PRESETS]
        typer.echo(f"deployments {', '.join(PRESETS)} at {api.ui}; stop with Ctrl-C")
        _serve(served, limit, api)


def _serve(served: "list[ServedDeployment]", limit: int, api: "PrefectApi") -> None:
    from infra.services.prefect_runner import ServingRunner, pause

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


def _deployment(name: PresetName, root: str) -> "Deployment":
    from flows.recipe.form import changed
    from flows.recipe.form_schema import form_schema
    from infra.services.prefect_runner import Deployment

    def accepts(parameters: dict[str, Any]) -> bool:
        try:
            changed(parameters)
        except ConfigError:
            return False
        return True

    return Deployment(
        name=name,
        description=f"{_ABOUT[name]} An empty field takes the recipe's value.",
        parameters={"preset": name, "root": root},
        schema=form_schema(name),
        tags=["ddpm", name],
        accepts=accepts,
    )


def _say(line: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')}  {line}", err=True)
