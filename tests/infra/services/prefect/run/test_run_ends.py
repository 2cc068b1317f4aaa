"""The ends of runs: the states that the server receives, and the leftovers of an earlier process."""

import threading
import time

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Pending, Running

from infra.services.prefect.run import run
from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunAborted
from tests.infra.services.prefect.gate import Gate


@flow(name="ended")
def ended() -> None:
    pass


@task
def nothing() -> None:
    pass


def test_a_run_of_a_deployment_fails_in_one_line(client: SyncPrefectClient) -> None:
    flow_id = client.create_flow(ended)
    deployment = client.create_deployment(flow_id, "of-fail", parameters={"preset": "digits"})
    run = client.create_flow_run_from_deployment(deployment)
    page = PrefectRun(run)
    assert page.deployment_parameters() == {"preset": "digits"}
    with pytest.raises(RunAborted, match=r"train\.images: is wrong"):
        page.fail("train.images: is wrong - mend it")
    state = client.read_flow_run(run.id).state
    assert state is not None
    assert (state.type, state.message) == (StateType.FAILED, "train.images: is wrong - mend it")


def test_a_run_of_nobody_is_left_to_its_caller(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(ended, parameters={}, state=Running())
    page = PrefectRun(run)
    assert page.deployment_parameters() == {}
    page.fail("said by the command")
    assert client.read_flow_run(run.id).state_type == StateType.RUNNING


def test_a_failure_may_have_a_name_of_its_own(client: SyncPrefectClient) -> None:
    deployment = client.create_deployment(client.create_flow(ended), "of-name", parameters={})
    page = PrefectRun(client.create_flow_run_from_deployment(deployment))
    with pytest.raises(RunAborted, match="diverged"):
        page.fail("train: diverged", "Diverged")
    state = client.read_flow_run(page.id).state
    assert state is not None
    assert (state.type, state.name) == (StateType.FAILED, "Diverged")


@pytest.mark.parametrize(("count", "lost"), [(1, StateType.RUNNING), (2, StateType.CRASHED)])
def test_tasks_of_an_earlier_process_are_closed(client: SyncPrefectClient, count: int, lost: StateType) -> None:
    run = client.create_flow_run(ended, parameters={}, state=Running())
    for key, state in (("lost", Running()), ("waiting", Pending()), ("done", Completed())):
        made = client.create_task_run(nothing, run.id, dynamic_key=key, name=key, state=Pending())
        client.set_task_run_state(made.id, state, force=True)
    PrefectRun(run.model_copy(update={"run_count": count})).close_lost_tasks()
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    types = {one.name: one.state_type for one in client.read_task_runs(flow_run_filter=mine)}
    waiting = StateType.PENDING if count == 1 else StateType.CRASHED
    assert types == {"lost": lost, "waiting": waiting, "done": StateType.COMPLETED}


def test_the_end_waits_for_a_server_that_is_away(
    gate: Gate, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_RETURN_POLL_S", 0.2)
    page, said = PrefectRun(client.create_flow_run(ended, parameters={})), []
    assert page.await_api(5.0, said.append)
    assert not said
    gate.shut()
    begun = time.monotonic()
    assert not page.await_api(2.5, said.append)
    assert time.monotonic() - begun < 5
    assert len(said) == 1
    assert "waiting at most" in said[0]
    threading.Timer(0.2, gate.open).start()
    assert page.await_api(10.0, said.append)


def test_a_failure_that_no_server_hears_of_is_left_to_its_caller(gate: Gate, client: SyncPrefectClient) -> None:
    deployment = client.create_deployment(client.create_flow(ended), "of-untold", parameters={})
    page = PrefectRun(client.create_flow_run_from_deployment(deployment))
    gate.shut()
    page.fail("train.images: is wrong")
