"""The flow's shape; what it does is in tests/e2e."""

import inspect

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import StateType
from prefect.states import Failed

from flows import pipeline
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


def test_the_flow_takes_a_config_a_stage() -> None:
    assert pipeline.pipeline.name == "ddpm"
    assert list(inspect.signature(pipeline.pipeline.fn).parameters) == ["prepare", "train", "sample", "evaluate", "run"]


def test_only_a_store_that_is_away_is_worth_another_try() -> None:
    def judged(error: Exception) -> bool:
        state = Failed(data=error)
        assert state.type == StateType.FAILED
        return pipeline._worth_retrying(None, None, state)

    assert judged(StorageError("is away"))
    assert not judged(InputError("is bad"))
    assert not judged(ValueError("x"))
