"""`ddpm up`: Prefect, MLflow and Ray on this machine, until Ctrl-C."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import Root
from flows.commands.serve import registered, say, serving_alone, work_off
from flows.recipe.served import served_presets
from infra.errors import ConfigError, ConflictError, Term
from infra.storage.uri import parse_place

if TYPE_CHECKING:
    from infra.services.standing import Standing

_COMMAND = 'eval "$(ddpm up --print-env)"'
_WIDTH = 9


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    root: Root = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of Prefect.")] = 4200,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", min=1, max=65535, help="Port of MLflow.")] = 5000,
    ray_port: Annotated[int, typer.Option("--ray-port", min=1, max=65535, help="Port of Ray.")] = 6379,
    dashboard_port: Annotated[
        int, typer.Option("--dashboard-port", min=1, max=65535, help="Port of Ray's dashboard.")
    ] = 8265,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most runs of deployments at a time.")] = 1,
    print_env: Annotated[
        bool, typer.Option("--print-env", help=f"Print the variables of the servers that are up: {_COMMAND}.")
    ] = False,
) -> None:
    """Start Prefect with a deployment per preset, MLflow and Ray on this machine, and keep them up until Ctrl-C.

    A server that your variables name is used, and none is started for it. If the servers of this root are up already,
    the command says where, and ends.
    """
    from flows.root import resolve_root
    from infra.services.standing import claim, find

    where = parse_place(resolve_root(root)).uri
    if print_env:
        _print_variables(where, find(where))
        return
    with claim(where) as claimed:
        if not claimed.is_ours:
            _show_others(where, claimed.standing)
            return
        if ended := claimed.end_leftovers():
            say(f"ended {ended} processes that a killed `ddpm up` of this root had left")
        from flows.servers import Ports, servers_up

        ports = Ports(prefect=port, mlflow=mlflow_port, ray=ray_port, dashboard=dashboard_port)
        with servers_up(where, claimed, ports, say) as (api, standing), serving_alone(served_presets(), api):
            served = registered(where)
            _show(standing)
            typer.echo("stop with Ctrl-C")
            work_off(served, limit, api)


def _print_variables(where: str, standing: "Standing | None") -> None:
    if standing is None or not standing.is_ready:
        raise ConfigError("no servers are up", item=f"root {where}", remedy="start them with `ddpm up`")
    for line in _exports(standing):
        typer.echo(line)


def _show_others(where: str, standing: "Standing | None") -> None:
    """Show where the servers of another `ddpm up` are.

    Raises:
        ConflictError: If they do not all answer yet.
    """
    if standing is None or not standing.is_ready:
        about = f" (process {standing.pid})" if standing else ""
        raise ConflictError(
            f"another `ddpm up` starts its servers{about}",
            item=f"root {where}",
            remedy=f"wait for it, or choose {Term.ANOTHER_ROOT}",
        )
    typer.echo(f"up already, by process {standing.pid}")
    _show(standing)


def _show(standing: "Standing") -> None:
    for name, page in standing.pages.items():
        typer.echo(f"{name:<{_WIDTH}} {page}")
    typer.echo(f"\nother commands find them by these variables, or by {_COMMAND}:")
    for line in _exports(standing):
        typer.echo(line)


def _exports(standing: "Standing") -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in standing.variables.items()]
