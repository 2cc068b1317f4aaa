"""The flow's shape; what it does is in tests/e2e."""

import inspect

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import StateType
from prefect.states import Failed

from flows import pipeline
from flows.recipe.form_schema import form_schema
from flows.recipe.presets import PRESETS, PresetName
from infra.errors import InputError, StorageError

TASKS = {
    "prepare": (pipeline.prepare_task, ["session"]),
    "train": (pipeline.train_task, ["session", "dataset"]),
    "sample": (pipeline.sample_task, ["session", "checkpoint"]),
    "evaluate": (pipeline.evaluate_task, ["session", "dataset", "checkpoint", "samples"]),
}


def test_one_task_a_stage_and_what_each_is_handed() -> None:
    for name, (task, parameters) in TASKS.items():
        assert task.name == name
        assert list(inspect.signature(task.fn).parameters) == parameters
        assert task.cache_policy == NO_CACHE, "the manifest is the cache"
        assert not task.persist_result


@pytest.mark.parametrize("recipe", PRESETS)
def test_the_flow_takes_what_the_form_offers_and_needs_none_of_it(recipe: PresetName) -> None:
    assert pipeline.pipeline.name == "ddpm"
    parameters = inspect.signature(pipeline.pipeline.fn).parameters
    assert set(parameters) == set(form_schema(recipe)["properties"])
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
