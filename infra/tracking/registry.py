"""MLflow's registry: a version per snapshot, and the alias `champion`, which only the gate moves.

Each call may raise, and each may be repeated: a repetition registers nothing twice.
"""

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from infra.record import Registration
from infra.tracking.gate import deciding_figure, figure_tags, judge, leads, shown_figure, tagged_figures
from infra.tracking.store import SHA256, URI

CHAMPION = "champion"
GATE = "ddpm.gate"
_WAS_CHAMPION = "ddpm.was_champion"
# Of a version that may take the alias: the tag of the figure that decides for it.
_CONTENDS = "ddpm.contends"
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
        is_new_champion: Whether the version has the alias by this decision.
    """

    uri: str
    line: str
    is_new_champion: bool = False


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
        is_new, line = self._decide(request, version)
        self._client.set_model_version_tag(request.name, version, GATE, line)
        return Registered(f"models:/{request.name}/{version}", line, is_new)

    def tags(self, name: str, *, version: str = "", alias: str = "") -> tuple[str, Mapping[str, str]] | None:
        """Return the number and the tags of a version, found by its number or an alias; None if there is none."""
        try:
            number = version or str(self._client.get_registered_model(name).aliases.get(alias, ""))
            return (number, self._client.get_model_version(name, number).tags) if number else None
        except MlflowException as error:
            if error.error_code in _MISSING:
                return None
            raise

    def uris(self) -> dict[str, str]:
        """Return the addresses of all registered versions, such as models:/digits/3, by those of their weights."""
        found: dict[str, str] = {}
        page = None
        while page is None or page.token:
            page = self._client.search_model_versions(page_token=page.token if page is not None else None)
            found |= {one.tags[URI]: f"models:/{one.name}/{one.version}" for one in page if URI in one.tags}
        return found

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

    def _decide(self, request: Registration, version: str) -> tuple[bool, str]:
        """Move the alias if the gate allows it; return whether it did, and its decision in one line.

        MLflow has no conditional move. So a version says that it contends before it looks at the alias once more, and
        a run looks at all contenders after it moved the alias. Each run finds the same winner among them, and the run
        that moves last sees all of them.
        """
        name, head = request.name, f"champion of {request.name}"
        tags = self._all_tags(name)
        # Read before the alias: a version that becomes champion from now on contends with this one.
        earlier = {number for number, own in tags.items() if _WAS_CHAMPION in own}
        champion, contends = self._champion(name), _CONTENDS in tags.get(version, {})
        if champion == version and (version in earlier or not contends):
            return False, f"{head}: version {version}, as before"
        if champion and version in earlier:
            line = f"{head} stays version {champion}; version {version} was champion before and does not take it back"
            return False, line
        reason = ", as before"
        for _ in range(_ROUNDS):
            if champion != version:
                is_better, reason = self._verdict(request, champion)
                if not is_better:
                    if contends:
                        self._client.delete_model_version_tag(name, version, _CONTENDS)
                    line = f"{head} stays version {champion}; version {version} does not replace it: {reason}"
                    return False, line
                self._contend(request, version)
                contends = True
            champion = self._settle(name, champion, earlier - {version})
            if champion == version:
                return True, f"{head}: version {version}{reason}"
        return False, f"{head} is version {champion}, which other runs keep moving; version {version} is registered"

    def _contend(self, request: Registration, version: str) -> None:
        figure = deciding_figure(request.measured.figures, request.champion_by)
        tag = next(iter(figure_tags([figure]))) if figure else "none"
        self._client.set_model_version_tag(request.name, version, _CONTENDS, tag)

    def _settle(self, name: str, replaced: str, earlier: Collection[str]) -> str:
        """Give the alias to the best of the versions that contend for it; return the version that has it in the end.

        Args:
            name: Of the model.
            replaced: The champion that all contenders may replace.
            earlier: The versions that contend no more.
        """
        holder = replaced
        for _ in range(_ROUNDS):
            tags = self._all_tags(name)
            contenders = {number: own for number, own in tags.items() if _CONTENDS in own and number not in earlier}
            winner, holder = _best(contenders), self._champion(name)
            if holder == winner:
                self._client.set_model_version_tag(name, winner, _WAS_CHAMPION, "true")
                return winner
            if holder not in contenders and holder != replaced:
                return holder
            self._client.set_registered_model_alias(name, CHAMPION, winner)
        return holder

    def _verdict(self, request: Registration, champion: str) -> tuple[bool, str]:
        if not champion:
            return True, ", the first"
        old = tagged_figures(self._client.get_model_version(request.name, champion).tags)
        verdict = judge(request.measured.figures, old, request.champion_by)
        return verdict.is_better, f" (was {champion}): {verdict.reason}" if verdict.is_better else verdict.reason

    def _all_tags(self, name: str) -> dict[str, Mapping[str, str]]:
        """Return the tags of all versions, by number."""
        found: list[ModelVersion] = self._client.search_model_versions(f"name = '{name}'")
        return {str(version.version): version.tags for version in found}

    def _champion(self, name: str) -> str:
        return str(self._client.get_registered_model(name).aliases.get(CHAMPION, ""))


def _best(contenders: Mapping[str, Mapping[str, str]]) -> str:
    """Return the number of the version with the best value; all of them are better than the champion so far.

    The interval has no say here: a version within that of a second one may be within that of a third one, which is
    worse than the second. The earlier version counts as the better one of equal or unlike ones.

    Args:
        contenders: The tags of each version, by number.
    """
    best, *others = sorted(contenders, key=int)
    for number in others:
        tags = contenders[number]
        deciding = tagged_figures({tag: text for tag, text in tags.items() if tag == tags[_CONTENDS]})
        if any(leads(figure, tagged_figures(contenders[best])) for figure in deciding):
            best = number
    return best
