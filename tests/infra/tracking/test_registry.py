"""A version per snapshot, and a champion that only a better one replaces, on a real MLflow database."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.record import MeasuredModel, ModelFigure, ModelFile, Registration
from infra.tracking.gate import tagged_figures
from infra.tracking.registry import GATE, ModelRegistry
from infra.tracking.store import RunStore

CONDITIONS = {"data": "d" * 64}


def measured(number: int, value: float, error: float | None = 0.1, **more: Any) -> MeasuredModel:
    """A model of its own for each number."""
    file = ModelFile(
        name=f"net {number}",
        uri=f"/snapshots/{number}.safetensors",
        sha256=f"{number:064x}",
        params={"train.images": 64 * number},
        tags={"ddpm.stage_key": f"key-{number}", "ddpm.digest": "e" * 64},
    )
    fields = {"name": "fd", "value": value, "standard_error": error, "higher_is_better": False}
    return MeasuredModel(file=file, figures=[ModelFigure(**({"conditions": CONDITIONS} | fields | more))])


class Models:
    """Registers models under one name, each from a run of its own."""

    def __init__(self, uri: str, folder: Path | None, name: str) -> None:
        self.store, self.name = RunStore(uri, "exp", folder), name
        self.client: MlflowClient = self.store.client
        self.registry = ModelRegistry(self.client)

    def register(self, model: MeasuredModel, by: str = "", key: str = "run") -> str:
        run = self.store.find_or_create(key, {"k": key}, {})
        stored = self.store.find_or_create_model(run, model.file)
        request = Registration(name=self.name, champion_by=by, run_name=key, measured=model)
        return self.registry.register(request, stored, run).line

    @property
    def champion(self) -> str:
        return str(self.client.get_registered_model(self.name).aliases.get("champion", ""))

    @property
    def versions(self) -> list[Any]:
        return sorted(self.client.search_model_versions(f"name = '{self.name}'"), key=lambda one: int(one.version))


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module; each test has a name of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


@pytest.fixture
def models(uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> Models:
    return Models(uri, tmp_path, request.node.name[:60])


def test_the_first_is_champion_even_without_a_standard_error(models: Models) -> None:
    assert models.register(measured(1, 5.0, None)) == f"champion of {models.name}: version 1, the first"
    assert models.champion == "1"


def test_only_a_difference_beyond_the_interval_moves_the_champion(models: Models) -> None:
    head = f"champion of {models.name}"
    models.register(measured(1, 5.0))
    within = models.register(measured(2, 4.8))
    assert within == (
        f"{head} stays version 1; version 2 does not replace it: "
        "fd 4.8 ± 0.1 and 5 ± 0.1 differ by 0.2, within the interval of ± 0.28"
    )
    assert models.champion == "1"
    assert models.register(measured(3, 4.1)) == f"{head}: version 3 (was 1): fd 4.1 ± 0.1 below 5 ± 0.1"
    assert models.champion == "3"
    worse = models.register(measured(4, 4.9))
    assert worse == f"{head} stays version 3; version 4 does not replace it: fd 4.9 ± 0.1 is worse than 4.1 ± 0.1"
    assert models.champion == "3"
    unlike = models.register(measured(5, 1.0, conditions={"data": "f" * 64}))
    assert unlike.endswith("the champion's fd is unlike: data ffffffff here and dddddddd there")
    assert models.register(measured(6, 1.0, None), by="fd").endswith("fd 1 has no standard error to judge by")
    assert models.register(measured(7, 1.0), by="kid").endswith("no figure kid; there are fd")
    assert models.champion == "3"
    assert [one.tags[GATE].startswith(head) for one in models.versions] == [True] * 7, "each version says why"


def test_the_same_weights_are_the_same_version(models: Models) -> None:
    lines = [models.register(measured(1, 5.0), key=key) for key in ("a", "a", "b")]
    assert lines[1:] == [f"champion of {models.name}: version 1, as before"] * 2
    (version,) = models.versions
    (stored,) = models.client.search_logged_models(
        [models.store.experiment_id], f"tags.`ddpm.sha256` = '{measured(1, 0).file.sha256}'"
    )
    assert stored.tags["mlflow.modelVersions"].count(f'"{models.name}"') == 1
    assert (version.tags["ddpm.run"], version.tags["ddpm.model_id"]) == ("a", stored.model_id)
    assert "version 2 does not replace it" in models.register(measured(2, 5.0)), "no number was used up"


def test_a_version_says_where_it_comes_from(models: Models) -> None:
    models.register(measured(1, 5.0))
    (version,) = models.versions
    run = models.store.find_or_create("run", {"k": "run"}, {})
    expected = {
        "ddpm.uri": "/snapshots/1.safetensors",
        "ddpm.sha256": f"{1:064x}",
        "ddpm.stage_key": "key-1",
        "ddpm.digest": "e" * 64,
        "ddpm.run": "run",
    }
    assert expected.items() <= version.tags.items()
    assert (version.run_id, version.description, version.status) == (run, "fd 5 ± 0.1", "READY")
    assert tagged_figures(version.tags) == list(measured(1, 5.0).figures)


def test_figures_measured_anew_join_those_of_the_version(models: Models) -> None:
    """A champion that was measured under other conditions can defend itself once it is measured like the others."""
    models.register(measured(1, 5.0))
    other = {"conditions": {"data": "f" * 64}}
    assert "unlike" in models.register(measured(2, 1.0, **other))
    models.register(measured(1, 4.0, **other))
    (first, _) = models.versions
    assert len(tagged_figures(first.tags)) == 2
    assert "(was 1): fd 1 ± 0.1 below 4 ± 0.1" in models.register(measured(2, 1.0, **other))


def test_a_champion_that_people_took_down_stays_down(models: Models) -> None:
    models.register(measured(1, 5.0))
    models.register(measured(2, 1.0))
    models.client.set_registered_model_alias(models.name, "champion", "1")
    line = models.register(measured(2, 1.0))
    assert line.endswith("stays version 1; version 2 was champion before and does not take it back")
    assert models.champion == "1"


def test_a_champion_of_others_is_left_alone(models: Models) -> None:
    models.client.create_registered_model(models.name)
    models.client.create_model_version(models.name, "s3://bucket/theirs", await_creation_for=0)
    models.client.set_registered_model_alias(models.name, "champion", "1")
    assert models.register(measured(2, 1.0)).endswith("the champion has no fd to compare with")
    assert models.champion == "1"


def test_a_run_that_moves_the_alias_meanwhile_is_judged_too(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our judgement and our move another run makes a better one champion."""
    models.register(measured(1, 5.0))
    real, turns = ModelRegistry._verdict, []

    def interrupted(self: ModelRegistry, request: Registration, champion: str) -> tuple[bool, str]:
        turns.append(champion)
        verdict = real(self, request, champion)
        if len(turns) == 1:
            monkeypatch.setattr(ModelRegistry, "_verdict", real)
            models.register(measured(2, 1.0))
            monkeypatch.setattr(ModelRegistry, "_verdict", interrupted)
        return verdict

    monkeypatch.setattr(ModelRegistry, "_verdict", interrupted)
    line = models.register(measured(3, 3.0))
    assert turns == ["1", "3"]
    assert "stays version 3; version 2 does not replace it: fd 3 ± 0.1 is worse" in line
    assert models.champion == "3"


def test_a_run_that_moves_the_alias_right_after_us_is_judged_too(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.register(measured(1, 5.0))
    models.register(measured(2, 4.9))
    real = MlflowClient.set_registered_model_alias
    moves = []

    def overtaken(self: MlflowClient, name: str, alias: str, version: str) -> None:
        real(self, name, alias, version)
        moves.append(version)
        if len(moves) == 1:
            real(self, name, alias, "2")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    assert "version 3 (was 2): fd 1 ± 0.1 below 4.9 ± 0.1" in models.register(measured(3, 1.0))
    assert moves == ["3", "3"]
    assert models.champion == "3"


def test_an_alias_without_rest_ends_in_a_line(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    models.register(measured(1, 5.0))
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: None)
    assert models.register(measured(2, 1.0)).endswith("which other runs keep moving; version 2 is registered")


def test_the_same_weights_at_the_same_time_are_one_version(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run registers the same weights between our search and our creation."""
    real = ModelRegistry._create

    def late(self: ModelRegistry, *more: Any) -> str:
        monkeypatch.setattr(ModelRegistry, "_create", real)
        models.register(measured(1, 5.0), key="other")
        return real(self, *more)

    monkeypatch.setattr(ModelRegistry, "_create", late)
    assert models.register(measured(1, 5.0)).endswith("version 1, as before")
    assert [one.version for one in models.versions] == [1]
