"""`ddpm stage`: runs one stage from a file, as a job on a cluster does."""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.artifacts import artifact_from_json
from flows.given import Given
from flows.recipe.settings import validated
from flows.root import resolve_root
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.table import STAGES
from infra.digests import Json
from infra.errors import ConfigError, InputError, IntegrityError
from infra.storage.open import open_store, read_file
from infra.storage.store import Store

if TYPE_CHECKING:
    from flows.runtime.handover import Handover

# A job's spec also holds what its run has found already, and the job's own id, code and kind of work.
_KEYS = {"run", "config", "inputs", "given", "job"}
_NAMES = "run, config and inputs"
_MOST_BYTES = 1 << 24


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stage")(stage)


def stage(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(stage.name for stage in STAGES)}.")],
    spec: Annotated[
        str, typer.Argument(help="A JSON file with run, config, and inputs by the names of their stages; may be on S3.")
    ],
) -> None:
    """Run one stage from a JSON file. The last line is its result as JSON, an input of later stages."""
    from flows.runtime.code import check_code, own_code
    from flows.runtime.handover import Handover

    stages = {each.name: each for each in STAGES}
    if name not in stages:
        raise ConfigError(f"no such stage: {name}", remedy=f"choose one of {', '.join(stages)}")
    values = _read(spec)
    settings = validated(RunSettings, values.get("run", {}))
    work = _Work(stage=stages[name], settings=settings, values=values, spec=spec)
    job = values.get("job")
    if job is None:
        typer.echo(json.dumps(work.run()))
        return
    handover = Handover(store=work.store, job=str(job.get("id")), submission=str(job.get("submission")))
    with handover.recording() as put_result:
        check_code(job.get("code", {}), own_code(), socket.gethostname())
        handover.begun.update(job.get("begun", ()))
        put_result(work.run(settles=bool(job.get("settles")), handover=handover))


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work that a spec asks for."""

    stage: Stage[Any, Any]
    settings: RunSettings
    values: Json
    spec: str

    @property
    def store(self) -> Store:
        """The store of all outputs."""
        return open_store(resolve_root(self.settings.root))

    def run(self, *, settles: bool = False, handover: "Handover | None" = None) -> Json:
        """Run the stage, or seal only what it needs early; return its result, which is empty in the second case."""
        from flows.recipe.run import check_devices
        from flows.runtime.runner import alone, run_stage, settle

        config, planned = self._config(), self._planned()
        inputs = self._inputs(self.stage.inputs[:1] if settles else self.stage.inputs)
        for artifact in inputs:
            if not artifact.is_of(artifact.manifest(self.store)):
                raise IntegrityError("differs from what was sealed", item=f"{self.spec}: {artifact.name}")
        given = self._given()
        with alone(self.stage, self.settings, config, inputs) as around:
            around.given = given
            around.check = partial(check_devices, planned, around.cluster)
            if handover is not None:
                around.begun, around.on_progress = handover.begun, handover.put_progress
            if settles:
                settle(around, self.stage, config, *inputs)
                return {}
            return asdict(run_stage(self.stage, self.settings, config, *inputs))

    def _config(self) -> Any:  # noqa: ANN401 - of the stage's own type
        if self.stage.config is not type(None):
            return validated(self.stage.config, self.values.get("config", {}))
        if self.values.get("config"):
            raise ConfigError(f"{self.stage.name} has no settings", item=f"{self.spec}: config")
        return None

    def _planned(self) -> dict[str, StageConfig]:
        """Return the settings of all stages that the run of this job comes to; empty without a run."""
        kinds = {each.name: each.config for each in STAGES}
        planned = self.values.get("job", {}).get("planned", {})
        return {name: validated(kinds[name], values) for name, values in planned.items()}

    def _inputs(self, needed: Sequence[str]) -> list[Any]:
        values = self.values.get("inputs", {})
        if values.keys() != set(needed):
            names = ", ".join(needed) or "no other stage"
            raise ConfigError(f"{self.stage.name} needs the results of {names}", item=f"{self.spec}: inputs")
        kinds = {each.name: each.artifact for each in STAGES}
        try:
            return [artifact_from_json(kinds[name], values[name]) for name in needed]
        except IntegrityError as error:
            raise ConfigError(error.cause, item=f"{self.spec}: inputs") from error

    def _given(self) -> dict[str, Given]:
        try:
            return {name: Given(**values) for name, values in self.values.get("given", {}).items()}
        except TypeError as error:
            raise ConfigError(f"is no input from outside ({error})", item=f"{self.spec}: given") from error


def _read(spec: str) -> Json:
    try:
        values = json.loads(_text(spec))
    except ValueError as error:
        raise ConfigError(f"is not JSON ({error})", item=spec) from error
    if not isinstance(values, dict) or values.keys() - _KEYS or not all(isinstance(v, dict) for v in values.values()):
        raise ConfigError(f"must hold {_NAMES}, each a table", item=spec)
    return values


def _text(spec: str) -> bytes:
    try:
        return read_file(spec, _MOST_BYTES) if "://" in spec else Path(spec).read_bytes()
    except InputError as error:
        raise ConfigError(error.cause, item=spec) from error
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", item=spec) from error
