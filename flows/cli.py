"""The command `ddpm`; it turns every failure into one line and an exit code."""

import gc
import os
import signal
import sys
import tempfile
import traceback
from types import FrameType, MappingProxyType

import typer
from typer.exceptions import TyperException

from flows.commands import (
    compare,
    doctor,
    exchange,
    inspect,
    lineage,
    ls,
    plan,
    prune,
    run,
    score,
    selftest,
    serve,
    stage,
    sweep,
    track,
    up,
    verify,
)
from flows.options import name_options
from infra.errors import DdpmError, Interrupted

BUG, _USAGE = 1, 2
SIGNALS = MappingProxyType({signal.SIGINT: 130, signal.SIGTERM: 143})

app = typer.Typer(
    name="ddpm",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn images into a trained DDPM, samples, a Fréchet distance and bits/dim: one resumable pipeline.",
)
run.register(app)
plan.register(app)
inspect.register(app)
verify.register(app)
ls.register(app)
lineage.register(app)
prune.register(app)
compare.register(app)
sweep.register(app)
score.register(app)
serve.register(app)
up.register(app)
doctor.register(app)
selftest.register(app)
exchange.register(app)
stage.register(app)
track.register(app)


def main() -> None:
    """Run the command line and exit."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    code = run_command(sys.argv[1:] or ["--help"])
    sys.stdout.flush()
    gc.freeze()  # because collecting cycles at exit would take two seconds with torch, Ray and MLflow
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        result = app(args=arguments, prog_name="ddpm", standalone_mode=False)
    except DdpmError as error:
        name_options(error)
        return _complain(str(error), error.exit_code)
    except TyperException as error:
        return _complain(" ".join(error.format_message().split()), _USAGE)
    except Interrupted as interrupt:
        kept = "".join(f"{note}; " for note in getattr(interrupt, "__notes__", []))
        return _complain(f"interrupted; {kept}run the same command to resume", int(interrupt.code or BUG))
    except Exception as error:  # because a bug of ours, too, ends in one line
        return _complain(f"{type(error).__name__} - a bug of ours; the traceback is in {_keep_traceback()}", BUG)
    return result if isinstance(result, int) else 0


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(SIGNALS[signal.Signals(number)])


def _complain(line: str, code: int) -> int:
    sys.stderr.write(f"ddpm: {line}\n")
    return code


def _keep_traceback() -> str:
    handle, path = tempfile.mkstemp(prefix="ddpm-traceback-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return path
