"""`ddpm serve`: one deployment a preset, to schedule from the Prefect UI."""

from typing import Annotated

import typer

from flows.presets import PRESETS, load_config
from flows.run_settings import RunSettings
from infra.uri import parse_place

_UI_PORT = 4200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_deployments)


def serve_deployments(
    root: Annotated[
        str,
        typer.Option(
            "--root", help="Folder of all outputs, or s3://bucket/prefix. Default: DDPM_ROOT, else ./ddpm-runs."
        ),
    ] = "",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of our own Prefect server; PREFECT_API_URL wins.")
    ] = _UI_PORT,
    limit: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
) -> None:
    """Serve one deployment a preset until stopped; schedule and start runs from the Prefect UI."""
    from flows.root import resolve_root
    from infra.services.prefect import prefect_api

    where = parse_place(resolve_root(root)).uri
    with prefect_api(where, port=port, brief=False) as url:
        from prefect import serve
        from prefect.deployments.runner import RunnerDeployment
        from prefect.types.entrypoint import EntrypointType

        from flows.pipeline import pipeline

        deployments: list[RunnerDeployment] = []
        for name in PRESETS:
            config = load_config(name, None, [])
            parameters = {stage: getattr(config, stage).model_dump(mode="json") for stage in type(config).model_fields}
            parameters["run"] = RunSettings(name=name, root=where).model_dump(mode="json")
            deployment = pipeline.to_deployment(
                name=name,
                parameters=parameters,
                entrypoint_type=EntrypointType.MODULE_PATH,
                description=f"The `{name}` preset; every setting can be changed in the form.",
            )
            assert isinstance(deployment, RunnerDeployment), "to_deployment is synchronous outside an event loop"
            deployments.append(deployment)
        typer.echo(f"deployments {', '.join(PRESETS)} at {url.removesuffix('/api')}; stop with Ctrl-C")
        serve(*deployments, limit=limit, print_starting_message=False)
