"""How a run ends: what its server hears, what an earlier process left, and that it ends with what started it."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Pending, Running

from infra.errors import Interrupted
from infra.services.prefect import run
from infra.services.prefect.run import (
    SERVER_VARIABLE,
    PrefectRun,
    RunAborted,
    RunPaused,
    RunUnreported,
    stops_passed_on,
)
from tests.infra.services.prefect.gate import Gate

PARENT = """
import os, subprocess, sys, time
os.environ[{variable!r}] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), end="", flush=True)
time.sleep(60)
"""
CHILD = """
import os, time
from infra.services.prefect.run import SERVER_VARIABLE, RunAborted, end_with_server
server = os.environ.pop(SERVER_VARIABLE)
end_with_server()
os.environ[SERVER_VARIABLE] = "1"
try:
    end_with_server()
except RunAborted as error:
    print(error, end="; ")
os.environ[SERVER_VARIABLE] = server
end_with_server()
print("works", flush=True)
time.sleep(60)
"""


@flow(name="ended")
def ended() -> None:
    pass


@task
def nothing() -> None:
    pass


@pytest.mark.parametrize("stop", [RunAborted("the flow run is Cancelled"), RunPaused("the flow run was paused")])
def test_a_stop_from_outside_is_passed_on_as_an_interrupt(stop: BaseException) -> None:
    stop.add_note("kept up to 512 images")
    with pytest.raises(Interrupted) as caught, stops_passed_on():
        raise stop
    assert caught.value.code == 130
    assert caught.value.__notes__ == [str(stop.args[0]), "kept up to 512 images"]


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


def test_finished_work_that_no_server_hears_of_is_no_failure(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def finished() -> None:
        gate.shut()
        raise RunUnreported("the run is finished, untold")

    with stops_passed_on():
        finished()
    assert caplog.messages.count("the run is finished, untold") == 1


def test_a_failure_that_no_server_hears_of_is_left_to_its_caller(gate: Gate, client: SyncPrefectClient) -> None:
    deployment = client.create_deployment(client.create_flow(ended), "of-untold", parameters={})
    page = PrefectRun(client.create_flow_run_from_deployment(deployment))
    gate.shut()
    page.fail("train.images: is wrong")


def test_a_run_ends_with_its_server() -> None:
    """The one that started it; a run whose server is gone already does not begin."""
    program = PARENT.format(variable=SERVER_VARIABLE, child=CHILD)
    command = [sys.executable, "-c", program]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[4], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, _, words = parent.stdout.readline().partition(" ")
    assert words == "ddpm serve has ended; works\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < deadline, "the run outlived its server"
        time.sleep(0.05)


def _alive(child: str) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
