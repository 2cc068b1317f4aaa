"""A server's start marks lost runs as ended, and leaves all others alone."""

from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    Suspended,
)

from infra.services.prefect import leftovers
from infra.services.prefect.leftovers import mark_lost_runs
from tests.infra.services.prefect.conftest import Serving

AT_WORK = (Running, Pending, Cancelling)
OTHERS = (Completed, Failed, Crashed, Cancelled, Scheduled, AwaitingRetry, Paused, Suspended)


@flow
def emptiness() -> None:
    pass


@task
def nothing() -> None:
    pass


def _state(kind: Any) -> Any:
    # Else the server itself ends a pause after some time.
    return kind(timeout_seconds=1000) if kind in (Paused, Suspended) else kind()


def test_what_a_dead_process_left_is_marked(
    serving: Serving, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_lost_runs(serving.api.url)  # those that other tests left at this server
    monkeypatch.setattr(leftovers, "_PAGE", 2)  # several pages of them
    runs, tasks = {}, {}
    for kind in (*AT_WORK, *OTHERS):
        run = client.create_flow_run(emptiness, state=Pending(), name=kind.__name__)
        client.set_flow_run_state(run.id, _state(kind), force=True)
        runs[kind] = run.id
        made = client.create_task_run(nothing, run.id, dynamic_key="0", state=Pending())
        client.set_task_run_state(made.id, _state(kind), force=True)
        tasks[kind] = made.id
    before = {kind: client.read_flow_run(number).state for kind, number in runs.items()}

    assert sorted(mark_lost_runs(serving.api.url)) == ["Cancelling", "Pending", "Running"]

    states = {kind: client.read_flow_run(number).state for kind, number in runs.items()}
    task_types = {kind: client.read_task_run(number).state_type for kind, number in tasks.items()}
    ended = {Running: "Crashed", Pending: "Crashed", Cancelling: "Cancelled"}
    assert {kind: states[kind].name for kind in AT_WORK} == ended
    assert {kind: states[kind].type for kind in AT_WORK} == {
        kind: StateType[name.upper()] for kind, name in ended.items()
    }
    assert all("A new run of it goes on" in states[kind].message for kind in AT_WORK)
    assert {task_types[kind] for kind in AT_WORK} == {StateType.CRASHED}
    for kind in OTHERS:
        assert states[kind].id == before[kind].id, f"{kind.__name__} has the state that it had"
        assert task_types[kind] == before[kind].type
    assert mark_lost_runs(serving.api.url) == []
