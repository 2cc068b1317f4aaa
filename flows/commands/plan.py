"""`ddpm plan`: what `ddpm run` with the same options would do, and why, without doing it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.run import (
    ChampionBy,
    ConfigFile,
    Execution,
    Force,
    InProcess,
    Name,
    Patience,
    Preset,
    RayJobs,
    RegisterAs,
    Root,
    Settings,
    StrictEnvironment,
    Timeout,
    Tracking,
    Wait,
    chosen,
)

if TYPE_CHECKING:
    from flows.recipe.expectation import Expectation
    from flows.recipe.forecast import Forecast, StageForecast
    from flows.stage_config import StageConfig
    from infra.compute.capacity import Capacity

_CLUSTER_LIMIT_S = 15.0
# The width of lines that go to a file instead of a terminal; wide enough for most reasons.
_WIDTH = 240
_ALL = "as many workers as fit"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(  # noqa: PLR0913 - one per option of `ddpm run`
    preset: Preset = "digits",
    config: ConfigFile = None,
    setting: Settings = None,
    root: Root = "",
    name: Name = "",
    force: Force = False,
    strict_environment: StrictEnvironment = False,
    wait: Wait = True,
    patience: Patience = 10.0,
    timeout: Timeout = 0.0,
    tracking: Tracking = True,
    register_as: RegisterAs = "",
    champion_by: ChampionBy = "",
    in_process: InProcess = False,
    execution: Execution = "here",
    ray_jobs: RayJobs = "",
    as_json: AsJson = False,
) -> None:
    """Say what `ddpm run` with the same options would do, why, and how long it should take. Nothing is touched."""
    recipe, settings = chosen(locals())
    from flows.recipe.forecast import forecast
    from flows.root import resolve_root
    from flows.runtime.connections import cluster_address, jobs_address
    from infra.storage.open import open_store

    as_jobs = bool(jobs_address(settings))
    address = "" if as_jobs else cluster_address() or ""  # which a run refuses in either mode
    address = address if settings.mode == "ray" else ""
    found = forecast(recipe, settings, open_store(resolve_root(settings.root)), remote=as_jobs or bool(address))
    asks = {stage.name: asked(getattr(recipe, stage.name), settings.mode) for stage in _with_settings()}
    there = None if as_jobs else _there(found, address, asks)
    if as_json:
        typer.echo(json.dumps(as_values(found, asks, there), indent=2))
    else:
        _show(found, asks, there, address)


def asked(config: "StageConfig", mode: str) -> dict[str, Any]:
    """Return the workers that a stage asks for, and the CPUs and the device of each.

    Args:
        config: The stage's settings.
        mode: `ray` or `in-process`.
    """
    workers = 1 if mode == "in-process" else config.workers
    return {
        "workers": workers or _ALL,
        "cpus_per_worker": int(getattr(config, "threads", 1)),
        "device": getattr(config, "device", "cpu"),
    }


def as_values(found: "Forecast", asks: dict[str, dict[str, Any]], there: "Capacity | None") -> dict[str, Any]:
    """Return a forecast with the resources as JSON values."""
    stages = [asdict(stage) | {"asks": asks.get(stage.stage)} for stage in found.stages]
    return {
        "name": found.name,
        "root": found.root,
        "has_work": found.has_work,
        "seconds": found.seconds,
        "stages": stages,
        "there": None if there is None else asdict(there),
    }


def _with_settings() -> Sequence[Any]:
    from flows.stages.table import STAGES

    return [stage for stage in STAGES if stage.config is not type(None)]


def _there(found: "Forecast", address: str, asks: dict[str, dict[str, Any]]) -> "Capacity | None":
    """Return the resources of the place where the run would work; None if it has no work, or does not answer."""
    from infra.compute.capacity import ask_cluster, this_machine

    if not found.has_work:
        return None
    if address:
        return ask_cluster(address, _CLUSTER_LIMIT_S)
    return this_machine(gpus=any(one["device"] != "cpu" for one in asks.values()))


def _show(found: "Forecast", asks: dict[str, dict[str, Any]], there: "Capacity | None", address: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from flows.quantities import duration_text

    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    console.print(f"run {found.name} below {found.root}", highlight=False, soft_wrap=True, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "state", "asks for", "expected"):
        table.add_column(column)
    table.add_column("why", overflow="fold")
    for stage in found.stages:
        needs = stage.has_settings and stage.state != "sealed"
        asking = _asking(asks[stage.stage]) if needs else ""
        cells = (stage.stage, _state(stage), asking, expected_text(stage) if needs else "", why_text(stage))
        table.add_row(*map(Text, cells))  # a text has no markup, and a list such as [1, 2] looks like some
    console.print(table)
    if found.has_work:
        if found.seconds is not None:
            console.print(f"expected in all: about {duration_text(found.seconds)}", highlight=False)
        console.print(_place(there, address), highlight=False, soft_wrap=True, markup=False)


def _state(stage: "StageForecast") -> str:
    amount = "" if stage.total is None else f"{stage.total:,} {stage.unit}"
    if stage.state == "goes on":
        return f"goes on from {stage.done:,} of {amount}" if amount else stage.state
    return f"would run: {amount}" if stage.state == "would run" and amount else stage.state


def why_text(stage: "StageForecast") -> str:
    """Return why a stage is not sealed, and how far its expected time can be trusted."""
    unlike = stage.expected.unlike if stage.expected else {}
    words = ", ".join(f"{stage.stage}.{name} was {there}" for name, (there, _) in unlike.items())
    remarks = [f"expected as measured where {words}"] if words else []
    remarks += [f"{stage.unread:,} older measurements were not read"] if stage.unread else []
    return f"{stage.why} ({'; '.join(remarks)})" if remarks else stage.why


def _asking(asks: dict[str, Any]) -> str:
    workers = asks["workers"] if asks["workers"] == _ALL else f"{asks['workers']} x"
    each = f"{asks['cpus_per_worker']} CPU" + ("s" if asks["cpus_per_worker"] > 1 else "")
    gpu = {"cuda": ", 1 GPU", "auto": ", 1 GPU if there is one"}.get(asks["device"], "")
    return f"{workers}, each {each}{gpu}" if workers == _ALL else f"{workers} {each}{gpu}"


def expected_text(stage: "StageForecast") -> str:
    """Return the expected time and size of a stage in words."""
    from flows.quantities import bytes_text, duration_text

    expected: Expectation | None = stage.expected
    if expected is None:
        return f"not known: no such stage {'is among the measurements read' if stage.unread else 'has run here'}"
    space = f", {bytes_text(expected.bytes)}" if expected.bytes else ""
    return f"about {duration_text(expected.seconds)}{space}, from {expected.run}"


def _place(there: "Capacity | None", address: str) -> str:
    from flows.quantities import bytes_text

    if there is None and not address:
        return "there: not asked, as a jobs server does not tell"
    if there is None:
        return f"there: not asked, as the cluster at {address} does not answer within {_CLUSTER_LIMIT_S:.0f} s"
    gpus = "" if there.gpus is None else f", {there.gpus} GPUs"
    nodes = f", {there.nodes} nodes" if there.nodes != 1 else ""
    return f"there: {there.place}, {there.cpus} CPUs{gpus}, {bytes_text(there.memory)} of memory{nodes}"
