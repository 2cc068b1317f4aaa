"""MLflow's registry: a version per snapshot, and the alias `champion`, which only the gate moves.

Each call may raise, and each may be repeated: a repetition registers nothing twice.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from infra.record import Registration
from infra.tracking.gate import figure_tags, judge, shown_figure, tagged_figures
from infra.tracking.store import SHA256, URI

CHAMPION = "champion"
GATE = "ddpm.gate"
_WAS_CHAMPION = "ddpm.was_champion"
_MODEL, _RUN = "ddpm.model_id", "ddpm.run"
_VERSIONS = "mlflow.modelVersions"
_EXISTS, _MISSING = "RESOURCE_ALREADY_EXISTS", ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# If other runs keep moving the alias meanwhile.
_ROUNDS = 5


class Registered(NamedTuple):
    """A registered version.

    Attributes:
        uri: Its address, such as models:/digits/3.
        line: The gate's decision about the champion, in one line.
    """

    uri: str
    line: str


class ModelRegistry:
    """The registered models of a tracking server.

    Args:
        client: MLflow's client.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def register(self, request: Registration, model: LoggedModel, run: str) -> Registered:
        """Register a model under a name unless it is registered already, and let the gate decide about the champion.

        Args:
            request: The name, the model's weights and its figures.
            model: The logged model of these weights.
            run: The ID of the run to link the version to.
        """
        self._make_name(request.name)
        version = self._version(request, model, run)
        for key, value in figure_tags(request.measured.figures).items():
            self._client.set_model_version_tag(request.name, version, key, value)
        line = self._decide(request, version)
        self._client.set_model_version_tag(request.name, version, GATE, line)
        return Registered(f"models:/{request.name}/{version}", line)

    def tags(self, name: str, *, version: str = "", alias: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return the number and the tags of a version, found by its number or an alias; None if there is none."""
        try:
            number = version or str(self._client.get_registered_model(name).aliases.get(alias, ""))
            return (number, self._client.get_model_version(name, number).tags) if number else None
        except MlflowException as error:
            if error.error_code in _MISSING:
                return None
            raise

    def _make_name(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise

    def _version(self, request: Registration, model: LoggedModel, run: str) -> str:
        """Return the version of these weights; make one if there is none."""
        if not (versions := self._versions(request)):
            number = self._create(request, model, run)
            versions = self._versions(request)
            if versions[0] != number:  # another run registered the same weights at the same time
                self._client.delete_model_version(request.name, number)
        links = json.loads(self._client.get_logged_model(model.model_id).tags.get(_VERSIONS, "[]"))
        # A server lists the version on the model's page; a store without a server does not.
        if not any(one["name"] == request.name and str(one["version"]) == versions[0] for one in links):
            links.append({"name": request.name, "version": int(versions[0])})
            self._client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(links)})
        return versions[0]

    def _versions(self, request: Registration) -> list[str]:
        query = f"name = '{request.name}' and tags.`{SHA256}` = '{request.measured.file.sha256}'"
        found: list[ModelVersion] = self._client.search_model_versions(query)
        return [str(number) for number in sorted(int(version.version) for version in found)]

    def _create(self, request: Registration, model: LoggedModel, run: str) -> str:
        weights, figures = request.measured.file, request.measured.figures
        tags = {URI: weights.uri, SHA256: weights.sha256, **weights.tags}
        version = self._client.create_model_version(
            request.name,
            # The model's own folder, which holds no file: stores without a server take no address of a logged model.
            source=model.artifact_location,
            run_id=run,
            tags=tags | {_MODEL: model.model_id, _RUN: request.run_name},
            description="; ".join(f"{figure.name} {shown_figure(figure)}" for figure in figures),
            await_creation_for=0,
            model_id=model.model_id,
        )
        return str(version.version)

    def _decide(self, request: Registration, version: str) -> str:
        """Move the alias if the gate allows it; return its decision in one line."""
        head, champion = f"champion of {request.name}", self._champion(request.name)
        if champion == version:
            return f"{head}: version {version}, as before"
        if champion and _WAS_CHAMPION in self._client.get_model_version(request.name, version).tags:
            return f"{head} stays version {champion}; version {version} was champion before and does not take it back"
        for _ in range(_ROUNDS):
            is_better, reason = self._verdict(request, champion)
            if not is_better:
                return f"{head} stays version {champion}; version {version} does not replace it: {reason}"
            # Another run may move it meanwhile, and MLflow has no conditional move: so look before and after.
            if (current := self._champion(request.name)) == champion:
                self._client.set_registered_model_alias(request.name, CHAMPION, version)
                current = self._champion(request.name)
            if current == version:
                self._client.set_model_version_tag(request.name, version, _WAS_CHAMPION, "true")
                return f"{head}: version {version}{reason}"
            champion = current
        return f"{head} is version {champion}, which other runs keep moving; version {version} is registered"

    def _verdict(self, request: Registration, champion: str) -> tuple[bool, str]:
        if not champion:
            return True, ", the first"
        old = tagged_figures(self._client.get_model_version(request.name, champion).tags)
        verdict = judge(request.measured.figures, old, request.champion_by)
        return verdict.is_better, f" (was {champion}): {verdict.reason}" if verdict.is_better else verdict.reason

    def _champion(self, name: str) -> str:
        return str(self._client.get_registered_model(name).aliases.get(CHAMPION, ""))
