"""`ddpm compare`: what differs between finished runs, on the terminal, as CSV and in MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import Root
from infra.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from flows.comparison.table import Comparison
    from flows.comparison.view import View
    from flows.run import Run

# Width of the table if it goes to a file.
_WIDTH = 120
_STANDARD_OUTPUT = "-"
_LONGEST_NAME = 250
_KEY_DIGITS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare_finished)


def compare_finished(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN ...", help="Finished runs by name or key; ROOT:RUN if one is below another root."
        ),
    ],
    root: Root = "",
    baseline: Annotated[
        str, typer.Option("--baseline", help="The run that the others are compared with. Default: the first.")
    ] = "",
    seeds: Annotated[
        bool,
        typer.Option("--seeds", help="Take the mean over runs that differ in sample.seed and evaluate.seed alone."),
    ] = False,
    csv: Annotated[
        str, typer.Option("--csv", metavar="FILE", help="Also write the rows as CSV; - writes only these, to stdout.")
    ] = "",
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Also record the comparison in MLflow, as a run with CSV and HTML.")
    ] = False,
) -> None:
    """Compare finished runs: settings, inputs and figures, and whether each difference exceeds its interval."""
    from flows.comparison.sheet import as_csv
    from flows.comparison.view import view_of
    from flows.run import compare_runs

    opened = _open([baseline, *runs] if baseline else runs, root, twice_is_once=bool(baseline))
    comparison = compare_runs(opened, seeds=seeds)
    view, sheet = view_of(comparison), as_csv(comparison.rows())
    if csv == _STANDARD_OUTPUT:
        typer.echo(sheet, nl=False)
    else:
        _print(view)
        if csv:
            _write(Path(csv), sheet)
    if mlflow:
        _record(opened, comparison, view, sheet, root, quiet=csv == _STANDARD_OUTPUT)


def _open(names: list[str], root: str, *, twice_is_once: bool) -> "list[Run]":
    """Open the runs; the baseline, which stands first, may be named again among the others."""
    from flows.run import open_run

    opened = []
    for name in names:
        # A run's name has no colon.
        place, colon, alone = name.rpartition(":")
        opened.append(open_run(alone, place) if colon and place else open_run(name, root))
    first, *others = opened
    if twice_is_once:
        others = [run for run in others if (run.store.uri, run.name) != (first.store.uri, first.name)]
    return [first, *others]


def _print(view: "View") -> None:
    from rich.console import Console

    from flows.comparison.terminal import show

    show(view, Console() if Console().is_terminal else Console(width=_WIDTH))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", item=f"--csv {path}") from error
    typer.echo(f"{path}  {text.count(chr(10)) - 1} rows")


def _record(runs: "list[Run]", comparison: "Comparison", view: "View", sheet: str, root: str, *, quiet: bool) -> None:
    """Record the comparison as a run of its own in MLflow, found again by the runs that it compares.

    Raises:
        StorageError: If MLflow does not take it.
    """
    from flows.pages.page import render
    from flows.root import resolve_root
    from flows.runtime.connections import open_tracker
    from flows.runtime.settings import RunSettings
    from infra.digests import canonical_json, sha256
    from infra.record import TrackedRun
    from infra.storage.open import open_store

    names = [trial.name for trial in comparison.trials]
    key = sha256(canonical_json([[run.store.uri, run.name, run.figures.digest] for run in runs] + [names]))
    title = f"compare {' '.join(names)}"
    tracker = open_tracker(RunSettings(root=root), open_store(resolve_root(root)))
    tracker.connect()
    tracker.start(
        TrackedRun(
            key=key[:_KEY_DIGITS],
            name=title[:_LONGEST_NAME],
            kind="compare",
            params={f"run.{letter}": name for (letter, _), name in zip(view.runs, names, strict=True)},
        )
    )
    page = render("comparison.html", view=view)
    tracker.close({}, {"comparison.csv": sheet.encode(), "comparison.html": page.encode()}, {})
    if tracker.complaint:
        raise StorageError(tracker.complaint, stage="compare", remedy="run the same command again")
    if not quiet:
        typer.echo(f"MLflow    {tracker.page or tracker.runs_page}")
        if tracker.server_command:
            typer.echo(f"served by {tracker.server_command}")
