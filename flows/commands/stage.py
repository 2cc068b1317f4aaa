"""`ddpm stage`: runs one stage from a file, as a job on a cluster does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.artifacts import artifact_from_json
from flows.recipe.settings import validated
from flows.root import resolve_root
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from flows.stages.table import STAGES
from infra.errors import ConfigError, IntegrityError
from infra.storage.open import open_store

_KEYS = {"run", "config", "inputs"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stage")(stage)


def stage(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(stage.name for stage in STAGES)}.")],
    spec: Annotated[
        Path, typer.Argument(help="A JSON file with run, config, and inputs by the names of their stages.")
    ],
) -> None:
    """Run one stage from a JSON file. The last line is its result as JSON, an input of later stages."""
    from flows.runtime.runner import run_stage

    stages = {each.name: each for each in STAGES}
    if name not in stages:
        raise ConfigError(f"no such stage: {name}", remedy=f"choose one of {', '.join(stages)}")
    chosen, values = stages[name], _read(spec)
    settings = validated(RunSettings, values.get("run", {}))
    config = None if chosen.config is type(None) else validated(chosen.config, values.get("config", {}))
    if config is None and values.get("config"):
        raise ConfigError(f"{name} has no settings", item=f"{spec}: config")
    inputs = _inputs(chosen, values.get("inputs", {}), spec)
    store = open_store(resolve_root(settings.root))
    for artifact in inputs:
        if not artifact.is_of(artifact.manifest(store)):
            raise IntegrityError("differs from what was sealed", item=f"{spec}: {artifact.name}")
    result = run_stage(chosen, settings, config, *inputs)
    typer.echo(json.dumps(asdict(result)))


def _read(spec: Path) -> dict[str, Any]:
    try:
        values = json.loads(spec.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", item=str(spec)) from error
    except ValueError as error:
        raise ConfigError(f"is not JSON ({error})", item=str(spec)) from error
    if not isinstance(values, dict) or values.keys() - _KEYS or not all(isinstance(v, dict) for v in values.values()):
        raise ConfigError("must hold run, config and inputs, each a table", item=str(spec))
    return values


def _inputs(chosen: Stage[Any, Any], values: dict[str, Any], spec: Path) -> list[Any]:
    if values.keys() != set(chosen.inputs):
        names = ", ".join(chosen.inputs) or "no other stage"
        raise ConfigError(f"{chosen.name} needs the results of {names}", item=f"{spec}: inputs")
    kinds = {each.name: each.artifact for each in STAGES}
    try:
        return [artifact_from_json(kinds[name], values[name]) for name in chosen.inputs]
    except IntegrityError as error:
        raise ConfigError(error.cause, item=f"{spec}: inputs") from error
