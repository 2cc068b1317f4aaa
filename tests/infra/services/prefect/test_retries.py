"""Which failures a task of the pipeline tries again, on a real server: those of a store alone, and not for ever."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient

from flows import pipeline
from flows.account import Account
from flows.artifacts import Dataset
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from infra.errors import ConfigError, DdpmError, DivergedError, InputError, ResourceError, StorageError


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(StorageError, 3), (ConfigError, 1), (InputError, 1), (ResourceError, 1), (DivergedError, 1), (ValueError, 1)],
)
def test_only_a_store_that_is_away_is_tried_again(
    client: SyncPrefectClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    attempts: int,
) -> None:
    monkeypatch.setattr(pipeline, "_RETRY_DELAY_S", 0)
    calls = []

    def fail(*_: object) -> Dataset:
        calls.append(1)
        raise error("as planned")

    def account(*_: Any) -> Account:
        raise AssertionError("there is no result")

    stage: Stage[Any, Any] = Stage(
        name="prepare", about="Fails.", inputs=(), config=type(None), artifact=Dataset, run=fail, account=account
    )
    work = pipeline._task_of(stage)

    @flow(persist_result=False)
    def failing() -> None:
        work(RunSettings(root=str(tmp_path), mode="in-process", tracking=False), None)

    with pytest.raises(error, match="as planned"):
        failing()
    assert len(calls) == attempts
    assert issubclass(error, DdpmError) or error is ValueError
