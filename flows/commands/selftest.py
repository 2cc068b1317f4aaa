"""`ddpm selftest`: does this installation compute correctly on this device?"""

import time
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from rich.table import Table

    from ddpm_core.selftest.check import Check

# Width of the table if it goes to a file.
_WIDTH = 130


class Device(Enum):
    """The device to compute on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("selftest")(selftest)


def selftest(
    device: Annotated[Device, typer.Option(help="auto takes cuda if this machine has it.")] = Device.AUTO,
) -> None:
    """Compare what this device computes with known answers: randomness, bound, samplers, network.

    The exit code is 6 if a number is off.
    """
    import torch
    from rich.console import Console

    from ddpm_core.selftest.run import run_selftest
    from infra.compute.device import exact_float32, fixed_threads
    from infra.compute.hardware import environments, resolve_device
    from infra.compute.probe import probe

    started = time.monotonic()
    here = probe(compiler=False)
    kind = resolve_device(device.value, [here])
    if kind == "cuda" and not here.gpus:
        raise ConfigError("cuda was asked for and this machine has none", item="device", remedy="take --device=cpu")
    versions = environments(kind, [here])[0]
    with fixed_threads(1), exact_float32():  # one thread, because the tensors are tiny
        checks = run_selftest(torch.device(kind))
    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    console.print(_table(checks))
    failed = [check for check in checks if not check.passed]
    for check in failed:
        typer.echo(f"ddpm: {_complaint(check, kind)}", err=True)
    typer.echo(
        f"{len(checks) - len(failed)} of {len(checks)} checks passed on {versions['device']}, "
        f"torch {versions['torch']}, in {time.monotonic() - started:.1f} s"
    )
    if failed:
        raise typer.Exit(IntegrityError.exit_code)


def _table(checks: "list[Check]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("check")
    table.add_column("")
    table.add_column("got", justify="right")
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("ok")
    for check in checks:
        state = "[green]yes[/green]" if check.passed else "[bold red]NO[/bold red]"
        table.add_row(check.name, check.what, _got(check), _expected(check), state)
    return table


def _got(check: "Check") -> str:
    return f"{check.got:.12g}" if check.expected else f"{check.got:.3g}"


def _expected(check: "Check") -> str:
    return f"{check.expected:.12g} ± {check.tolerance:.2g}"


def _complaint(check: "Check", device: str) -> str:
    """One line with the check, the computed number, the expected one and the remedy."""
    if device == "cuda":
        remedy = (
            "do not trust this device's results; if `ddpm selftest --device cpu` passes, change the GPU's driver or "
            "torch's CUDA build, else reinstall"
        )
    else:
        remedy = "do not trust this installation's results; reinstall it with the versions of constraints.txt"
    cause = f"{check.what}: got {_got(check)}, expected {_expected(check)}"
    return str(IntegrityError(cause, stage="selftest", item=check.name, remedy=remedy))
