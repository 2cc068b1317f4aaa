"""The flow's shape; what it does is in tests/e2e."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import StateType
from prefect.states import Failed

from flows import pipeline
from flows.recipe.config import PipelineConfig
from flows.recipe.form_schema import form_schema
from flows.recipe.presets.table import PRESETS
from flows.recipe.run import steps
from flows.runtime.settings import RunSettings
from flows.stages.table import STAGES
from infra.errors import ConfigError, InputError, StorageError
from tests.conftest import TinyRun

GRAPH = Path(__file__).with_name("graph.txt")


def test_the_graph_is_the_one_that_is_written_down(tiny_run: TinyRun) -> None:
    """The order and the inputs of the stages, as the flow's own loop does it."""
    results = {
        "prepare": tiny_run.dataset,
        "train": tiny_run.snapshot,
        "sample": tiny_run.samples,
        "evaluate": tiny_run.figures,
        "report": "the page",
    }
    lines = []

    def step(stage: Any) -> Any:
        def run(_settings: RunSettings, config: object, *inputs: object) -> object:
            assert config == getattr(tiny_run.config, stage.name, None)
            names = [name for one in inputs for name, result in results.items() if result is one]
            lines.append(f"{stage.name} <- {', '.join(names)}" if names else stage.name)
            return results[stage.name]

        return run

    assert dict((stage.name, result) for stage, result in steps(tiny_run.config, RunSettings(), step)) == results
    assert lines == GRAPH.read_text().splitlines()


def test_there_is_one_task_per_stage() -> None:
    assert list(pipeline.TASKS) == [stage.name for stage in STAGES]
    for name, task in pipeline.TASKS.items():
        assert task.name == name
        assert task.description
        assert task.cache_policy == NO_CACHE, "the manifest is the cache"
        assert not task.persist_result
        assert task.retries > 0


def test_stages_with_settings_are_the_fields_of_a_recipe() -> None:
    configs = {stage.name: stage.config for stage in STAGES if stage.config is not type(None)}
    assert configs == {name: field.annotation for name, field in PipelineConfig.model_fields.items()}
    assert [stage.name for stage in STAGES if stage.ends_run] == [STAGES[-1].name]


def test_tasks_exchange_plain_data(tiny_run: TinyRun) -> None:
    for one in (tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.figures):
        json.dumps(asdict(one))
    for one in (tiny_run.config.train, RunSettings()):
        json.dumps(one.model_dump(mode="json"))


@pytest.mark.parametrize("recipe", PRESETS)
def test_the_flow_takes_what_the_form_offers_and_needs_none_of_it(recipe: str) -> None:
    assert pipeline.pipeline.name == "ddpm"
    parameters = inspect.signature(pipeline.pipeline.fn).parameters
    assert set(parameters) == {*form_schema(recipe)["properties"], "recipe"}, "which a recipe of the user has"
    assert {parameter.default for parameter in parameters.values()} == {None}, "an empty field is the recipe's value"
    assert not pipeline.pipeline.should_validate_parameters, "Prefect's own complaint would have many lines"


def test_only_a_store_that_is_away_is_worth_another_try() -> None:
    def judged(error: Exception) -> bool:
        state = Failed(data=error)
        assert state.type == StateType.FAILED
        return pipeline._worth_retrying(None, None, state)

    assert judged(StorageError("is away"))
    assert not judged(InputError("is bad"))
    assert not judged(ValueError("x"))


def test_a_worker_needs_a_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own folder is a temporary one; `ddpm run` in a user's folder has a default."""
    monkeypatch.delenv("DDPM_ROOT", raising=False)
    deployed, alone = (SimpleNamespace(is_deployed=value) for value in (True, False))
    with pytest.raises(ConfigError, match="root: is not set, and a worker's own folder goes away") as caught:
        pipeline._check_root(RunSettings(), deployed)
    assert "DDPM_ROOT" in caught.value.remedy
    pipeline._check_root(RunSettings(), alone)
    pipeline._check_root(RunSettings(root="/runs"), deployed)
    monkeypatch.setenv("DDPM_ROOT", "/runs")
    pipeline._check_root(RunSettings(), deployed)


def test_a_sweep_that_ends_before_its_figures_is_refused() -> None:
    with pytest.raises(ConfigError, match="until: a sweep compares figures"):
        pipeline._run({"until": "train", "sweep": {"grid": ["train.seed=1,2"]}}, None)


@pytest.mark.parametrize("root", ["", "runs", "./out", "ddpm-runs/"])
def test_a_root_in_a_workers_own_folder_is_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDPM_ROOT", raising=False)
    deployed: Any = SimpleNamespace(is_deployed=True)
    with pytest.raises(ConfigError, match="a worker's own folder goes away with the run"):
        pipeline._check_root(RunSettings(root=root), deployed)
    for lasting in ("/data/runs", "s3://bucket/runs", "file:///data/runs"):
        pipeline._check_root(RunSettings(root=lasting), deployed)
    pipeline._check_root(RunSettings(root=root), SimpleNamespace(is_deployed=False))  # type: ignore[arg-type]
