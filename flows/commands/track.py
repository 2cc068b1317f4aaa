"""`ddpm track flush`: MLflow gets what it missed of finished runs."""

from itertools import chain

import typer

from flows.commands.run import Root, say_aside
from infra.errors import DdpmError, InputError


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What MLflow has of the finished runs.")
    group.callback()(_group)
    group.command("flush")(flush)
    app.add_typer(group, name="track")


def _group() -> None:
    """Compare MLflow with the finished runs."""


def flush(root: Root = "") -> None:
    """Deliver to MLflow what it misses of the finished runs and sweeps, from what they sealed. Nothing is computed.

    Runs that it shows as running although their process was killed end there as killed.
    """
    from flows.root import known_root, resolve_root
    from flows.runtime.killed_runs import end_killed
    from flows.runtime.late_tracking import deliver_late
    from flows.stages.table import STAGES
    from flows.sweep.late_tracking import deliver_sweeps
    from infra.storage.open import open_store

    store = open_store(resolve_root(root))
    said, errors, new = set[str](), list[DdpmError](), set[str]()
    # Each is asked after the one before it has ended.
    for delivery in chain(deliver_late(store, STAGES), deliver_sweeps(store, new), end_killed(store, said)):
        said.add(delivery.name)
        if delivery.is_new:
            new.add(delivery.name)
        typer.echo(f"{delivery.name}  {delivery.line}")
        if delivery.error is not None:
            errors.append(delivery.error)
    if not said and known_root(store):
        typer.echo("no run has finished, and MLflow shows none as running")
    elif not said:
        raise InputError("holds no finished run", item=store.uri, remedy="name the root by --root")
    for error in errors[1:]:
        say_aside(str(error))
    if errors:
        raise errors[0]
