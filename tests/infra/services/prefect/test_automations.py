"""Automations on a real server: users' changes of them stay, and each fires at what its name says."""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.events.actions import CancelFlowRun, ChangeFlowRunState, DoNothing
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Crashed, Failed, Pending, Running

from flows import pipeline
from infra.errors import DdpmError, DivergedError, InputError
from infra.services.prefect.automations import install, shipped
from infra.services.prefect.lost import LOST
from infra.services.prefect.run.page import CHAMPION_EVENT, RunPage
from infra.services.prefect.server import DATABASE
from tests.infra.services.prefect.conftest import Serving

# The server looks every five seconds at what has not happened; a busy one reads a sign of life late.
WINDOW_S, LIMIT_S, REPEATED_S = 30.0, 90.0, 5.0


@flow(name="ended")
def ended() -> None:
    pass


@pytest.fixture
def name(client: SyncPrefectClient) -> Iterator[str]:
    """The name of a flow that nobody else has; its automations go with it."""
    name = f"flow-{uuid.uuid4().hex[:8]}"
    yield name
    for one in of(client, name):
        client.delete_automation(one.id)


def of(client: SyncPrefectClient, name: str) -> list[Automation]:
    return [one for one in client.read_automations() if one.name.startswith(name)]


def window_s(automation: AutomationCore) -> float:
    assert isinstance(automation.trigger, EventTrigger)
    return automation.trigger.within.total_seconds()


def quiet(line: str) -> None:
    raise AssertionError(line)


def run_of(client: SyncPrefectClient, name: str, state: Any = None) -> FlowRun:
    return client.create_flow_run(ended.with_options(name=name), parameters={}, state=state or Pending())


def heartbeat(run: FlowRun, name: str) -> None:
    """Send what Prefect's engine sends from the process of a run."""
    emit_event(
        "prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        related=[
            {
                "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": name,
            }
        ],
    )


def await_that(ready: Callable[[], bool], about: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not ready():
        assert time.monotonic() < end, about()
        time.sleep(0.3)


def test_a_second_start_changes_nothing(client: SyncPrefectClient, name: str) -> None:
    install(shipped(name), quiet)
    before = of(client, name)
    titles = ("new champion", "run diverged", "run failed", "run lost", "run never began")
    assert [one.name for one in before] == [f"{name}: {title}" for title in titles]
    assert all(one.enabled and one.description for one in before)
    written = client.request("POST", "/automations/filter", json={}).json()
    install(shipped(name), quiet)
    assert of(client, name) == before
    assert client.request("POST", "/automations/filter", json={}).json() == written, "not even its time of writing"


def test_what_users_change_stays_and_what_is_ours_follows(client: SyncPrefectClient, name: str) -> None:
    install(shipped(name), quiet)
    lost, failed = (one for title in ("lost", "failed") for one in of(client, name) if one.name.endswith(title))
    client.pause_automation(lost.id)
    changed = {"actions": [CancelFlowRun(type="cancel-flow-run")], "tags": ["mine"], "description": "Mine."}
    fields = {field: getattr(failed, field) for field in ("name", "trigger")}
    client.update_automation(failed.id, AutomationCore(**fields | changed))

    install(shipped(name, lost_s=60.0), quiet)
    after = {one.id: one for one in of(client, name)}
    assert len(after) == 5
    assert not after[lost.id].enabled
    assert window_s(after[lost.id]) == 60
    assert "60 s" in after[lost.id].description
    assert after[lost.id].actions == lost.actions
    assert after[failed.id].actions == [CancelFlowRun()]
    assert after[failed.id].tags == ["mine"]
    assert after[failed.id].description == failed.description


def test_the_window_follows_prefects_heartbeats(name: str) -> None:
    def lost() -> AutomationCore:
        return next(one for one in shipped(name) if one.name.endswith("run lost"))

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        assert (window_s(lost()), lost().enabled) == (90, True)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        assert not lost().enabled, "nothing could tell a run that works from one that is lost"


def test_only_a_lost_run_changes_by_itself(name: str) -> None:
    acting = {one.name.partition(": ")[2]: one.actions for one in shipped(name) if one.actions != [DoNothing()]}
    assert set(acting) == {"run lost", "run never began"}
    for (action,) in acting.values():
        assert isinstance(action, ChangeFlowRunState)
        assert (action.state, action.force) == (StateType.CRASHED, False), "a run that has ended keeps its end"


def test_a_server_without_automations_costs_a_line(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such route\nand more")

    monkeypatch.setattr(SyncPrefectClient, "read_automations_by_name", refuse)
    said: list[str] = []
    install(shipped("some"), said.append)
    (line,) = said
    assert "takes no automations (no such route)" in line


@pytest.mark.slow
def test_silence_is_noticed(client: SyncPrefectClient, name: str) -> None:
    """That is the silence of runs that work, and of runs that wait for their beginning."""
    install(shipped(name, lost_s=WINDOW_S, pending_s=WINDOW_S), quiet)
    time.sleep(2)  # the server loads what has changed by a message to itself
    runs = {kind: run_of(client, name) for kind in ("lost", "alive", "done", "stuck")}
    for kind in ("lost", "alive", "done"):
        client.set_flow_run_state(runs[kind].id, Running(), force=True)
        heartbeat(runs[kind], name)
    client.set_flow_run_state(runs["done"].id, Completed(), force=True)
    beaten = time.monotonic()

    def over() -> bool:
        nonlocal beaten
        if time.monotonic() - beaten > WINDOW_S / 4:
            heartbeat(runs["alive"], name)
            beaten = time.monotonic()
        found = states(client, runs)
        return found["lost"] == found["stuck"] == "Crashed"

    await_that(over, lambda: states(client, runs))
    expected = {"lost": "Crashed", "stuck": "Crashed", "alive": "Running", "done": "Completed"}
    assert states(client, runs) == expected
    lost = client.read_flow_run(runs["lost"].id).state
    assert lost is not None
    assert lost.message == LOST


def test_a_bad_end_is_noticed(serving: Serving, client: SyncPrefectClient, name: str) -> None:
    """By an action that a user gave these automations, however many others write into the server's database."""
    install(shipped(name), quiet)
    give_action(client, name)
    for end in (Failed(message="first"), Failed(name="Diverged")):
        await_action(client, name, end)
    ends = [
        Failed(message="a"),
        Failed(name="Diverged", message="b"),
        Crashed(message="c"),
        *(Failed(message=str(number)) for number in range(20)),
    ]
    expected = {str(number): "Fired" for number, _ in enumerate(ends)}
    expected |= {"done": "Completed", "another flow's": "Failed"}
    runs: dict[str, FlowRun] = {}
    with others_write(serving):
        for kind, end in {**{str(number): end for number, end in enumerate(ends)}, "done": Completed()}.items():
            runs[kind] = run_of(client, name)
            client.set_flow_run_state(runs[kind].id, end, force=True)
        runs["another flow's"] = run_of(client, f"{name}-other")
        client.set_flow_run_state(runs["another flow's"].id, Failed(), force=True)
        await_that(lambda: states(client, runs) == expected, lambda: states(client, runs))
    time.sleep(1)  # so that what must not fire had its time
    assert states(client, runs) == expected


def await_action(client: SyncPrefectClient, name: str, end: Any) -> None:
    """Wait until the server goes by the action for such an end; it loads what has changed after it has answered."""
    runs: dict[str, FlowRun] = {}
    asked = -REPEATED_S

    def acts() -> bool:
        nonlocal asked
        if time.monotonic() - asked > REPEATED_S:
            runs[str(len(runs))] = run = run_of(client, name)
            client.set_flow_run_state(run.id, end, force=True)
            asked = time.monotonic()
        return "Fired" in states(client, runs).values()

    await_that(acts, lambda: states(client, runs))


@contextmanager
def others_write(serving: Serving) -> Iterator[None]:
    """Write into the server's database again and again, as other processes do."""
    assert serving.api.server is not None
    database = serving.api.server.log.parent / DATABASE
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE others (number INTEGER)")
            while not ended.wait(0.02):
                connection.execute("INSERT INTO others VALUES (1)")
            connection.execute("DROP TABLE others")

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        try:
            yield
        finally:
            ended.set()
        writing.result()


def give_action(client: SyncPrefectClient, name: str) -> None:
    """Let the automations of bad ends mark their runs, as a user does on their pages."""
    # Of an update, Prefect's client sends only what was set by name.
    acts = ChangeFlowRunState(type="change-flow-run-state", state=StateType.CANCELLED, name="Fired", force=True)
    for one in of(client, name):
        if one.name.partition(": ")[2] in ("run failed", "run diverged"):
            client.update_automation(one.id, AutomationCore(name=one.name, trigger=one.trigger, actions=[acts]))


def states(client: SyncPrefectClient, runs: dict[str, FlowRun]) -> dict[str, str]:
    """The name of each run's state."""
    found = {kind: client.read_flow_run(run.id).state for kind, run in runs.items()}
    return {kind: str(state.name) for kind, state in found.items() if state is not None}


@pytest.mark.parametrize(("error", "state"), [(DivergedError, "Diverged"), (InputError, "Failed")])
def test_a_run_that_diverged_has_a_state_of_its_own(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, error: type[DdpmError], state: str
) -> None:
    def fail(*_: object) -> None:
        raise error("ten steps in a row were not finite", item="train", remedy="lower train.learning_rate")

    monkeypatch.setattr(pipeline, "_stages", fail)
    ended = pipeline.pipeline(return_state=True)
    assert ended.state_details.flow_run_id is not None
    stored = client.read_flow_run(ended.state_details.flow_run_id).state
    assert stored is not None
    assert (stored.type, stored.name) == (StateType.FAILED, state)
    assert str(stored.message).startswith("train: ten steps in a row were not finite")


def test_a_champion_is_an_event_of_its_run(client: SyncPrefectClient) -> None:
    number = uuid.uuid4().hex[:8]

    @flow(name="crowned", persist_result=False)
    def crowned() -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        RunPage(context.flow_run.id).announce_champion(f"models:/{number}/3", "champion of net: version 3, the first")

    crowned()
    query = {"filter": {"event": {"name": [CHAMPION_EVENT]}, "resource": {"id": [f"ddpm.models:/{number}/3"]}}}

    def events() -> list[dict[str, Any]]:
        return list(client.request("POST", "/events/filter", json=query).json()["events"])

    await_that(lambda: bool(events()), events)
    (event,) = events()
    assert event["payload"] == {"address": f"models:/{number}/3", "line": "champion of net: version 3, the first"}
    roles = {one["prefect.resource.role"] for one in event["related"]}
    assert {"flow", "flow-run"} <= roles, "an action can infer the run"
