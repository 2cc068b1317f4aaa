"""`ddpm doctor`: says what is wrong with an installation, a cluster, a bucket or a server, and the remedy for each."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.run import Root

if TYPE_CHECKING:
    from flows.doctor.finding import Finding

_WIDTHS = (7, 9)
_CLEAR = "\r\033[K"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    root: Root = "",
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="s3://BUCKET/PREFIX", help="Also check that these images can be read."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Run this check alone; repeat for more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say within a minute what is wrong with this installation and the servers that its variables name.

    One line per finding: ok, warning or WRONG, with cause and remedy. The exit code is 0 if nothing is wrong, else
    that of the first line that is.
    """
    from flows.doctor.check import Subject
    from flows.doctor.examination import examine
    from flows.doctor.finding import Level
    from flows.doctor.table import CHECKS
    from flows.root import resolve_root
    from infra.errors import ConfigError

    names = [check.name for check in CHECKS]
    if unknown := [name for name in only or () if name not in names]:
        raise ConfigError("is not a check", item=f"--only {unknown[0]}", remedy=f"choose from {', '.join(names)}")
    checks = [check for check in CHECKS if not only or check.name in only]
    subject = Subject(root=resolve_root(root), sources=tuple(source or ()))
    found: list[Finding] = []
    for findings in examine(checks, subject, on_wait=_show_wait):
        found += findings
        if not as_json:
            _clear()
            for one in findings:
                typer.echo(_line(one))
    _clear()
    exit_code = next((one.exit_code for one in found if one.level is Level.WRONG), 0)
    if as_json:
        values = [one.as_json() for one in found]
        typer.echo(json.dumps({"findings": values, "exit_code": exit_code}, indent=1, ensure_ascii=False))
    else:
        typer.echo(_summary(found))
    if exit_code:
        raise typer.Exit(exit_code)


def _line(finding: "Finding") -> str:
    level = finding.level.upper() if finding.exit_code else finding.level
    return f"{level:<{_WIDTHS[0]}}  {finding.check:<{_WIDTHS[1]}}  {finding}"


def _summary(found: "list[Finding]") -> str:
    from flows.doctor.finding import Level

    count = {level: sum(one.level is level for one in found) for level in Level}
    bad = f"{count[Level.WRONG]} wrong" if count[Level.WRONG] else "nothing wrong"
    warnings = count[Level.WARNING]
    return f"{bad}, {warnings} warning{'' if warnings == 1 else 's'}, {count[Level.OK]} ok"


def _show_wait(names: list[str]) -> None:
    """Show on a terminal which checks are at work."""
    if sys.stderr.isatty() and names:
        sys.stderr.write(f"{_CLEAR}checks {', '.join(names)} ...")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()
