"""A run seen from its own process: it leaves when it is no longer to run."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Paused, Suspended

from infra.errors import Interrupted
from infra.services.prefect.lost import LOST
from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunAborted, RunPaused, stops_passed_on

pytestmark = pytest.mark.usefixtures("no_signal_of_ours_stays")

LOOK_S = 0.1


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def working(page: PrefectRun, act: Callable[[], None], seconds: float) -> str:
    with page.watched():
        act()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
    return "kept"


@flow(name="seen", validate_parameters=False, persist_result=False)
def seen(
    act: Callable[[FlowRun], None], seconds: float = 20.0, prepare: Callable[[PrefectRun], None] | None = None
) -> str:
    current = PrefectRun.current()
    assert current is not None
    page = PrefectRun(current._flow_run, LOOK_S)
    if prepare is not None:
        prepare(page)
    return working(page, lambda: act(current._flow_run), seconds)


def tasks(client: SyncPrefectClient, run: FlowRun, *, ended: bool = True) -> list[TaskRun]:
    """The run's tasks, as soon as the server knows of any, and of their ends: it learns of them from events."""
    end = time.monotonic() + 20
    while True:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
        known = found and (not ended or all(one.state is not None and one.state.is_final() for one in found))
        if known or time.monotonic() > end:
            return found
        time.sleep(0.1)


def setting(client: SyncPrefectClient, state: State[Any]) -> Callable[[FlowRun], None]:
    return lambda run: client.set_flow_run_state(run.id, state, force=True) and None


class Runs:
    """Remembers which run a flow was."""

    def __init__(self, act: Callable[[FlowRun], object]) -> None:
        self._act = act
        self.run: FlowRun

    def __call__(self, run: FlowRun) -> None:
        self.run = run
        self._act(run)


@pytest.mark.parametrize("pause", [Suspended, Paused], ids=["left", "waiting"])
def test_a_paused_run_leaves_and_can_be_resumed(client: SyncPrefectClient, pause: Callable[..., State[Any]]) -> None:
    """Only one of the pages' two kinds of pause lets another process go on; both end as that one."""
    state = pause(timeout_seconds=900)  # from now on, not from when the tests were collected
    deployment = client.create_deployment(client.create_flow(seen), f"of-{state.name}")
    act = Runs(setting(client, state))
    run = client.create_flow_run_from_deployment(deployment)
    with pytest.raises(RunPaused, match="the flow run was paused"):
        run_flow(seen, flow_run=run, parameters={"act": act})
    after = client.read_flow_run(act.run.id).state
    assert after is not None
    assert (after.type, after.name) == (StateType.PAUSED, "Suspended")
    assert after.state_details.pause_reschedule
    (one,) = tasks(client, act.run)
    assert one.state_type == StateType.CANCELLED
    client.resume_flow_run(act.run.id)
    resumed = client.read_flow_run(act.run.id).state
    assert resumed is not None
    assert resumed.type == StateType.SCHEDULED, "another process takes it up"


def test_a_cancelled_run_leaves(client: SyncPrefectClient) -> None:
    act = Runs(setting(client, Cancelled()))
    with pytest.raises(RunAborted, match="the flow run is Cancelled"):
        seen(act)
    assert client.read_flow_run(act.run.id).state_type == StateType.CANCELLED
    (one,) = tasks(client, act.run)
    assert one.state is not None
    assert one.state.type == StateType.CANCELLED
    assert "Finished work is kept." in str(one.state.message)


def test_a_run_that_ended_elsewhere_leaves(client: SyncPrefectClient) -> None:
    act = Runs(setting(client, Completed()))
    with pytest.raises(RunAborted, match="the flow run is Completed"):
        seen(act)
    assert client.read_flow_run(act.run.id).state_type == StateType.COMPLETED


def test_a_run_that_lives_takes_itself_back(client: SyncPrefectClient) -> None:
    """An automation takes a run for lost if its signs of life do not arrive, such as while the server is away."""
    states = []
    act = Runs(setting(client, Crashed(message=LOST)))

    def work(run: FlowRun) -> None:
        act(run)
        end = time.monotonic() + 10
        while (state := client.read_flow_run(run.id).state_type) != StateType.RUNNING and time.monotonic() < end:
            time.sleep(0.05)
        states.append(state)

    assert seen(work, seconds=0.0) == "kept"
    assert states == [StateType.RUNNING]
    assert client.read_flow_run(act.run.id).state_type == StateType.COMPLETED


def test_a_run_that_somebody_marked_as_crashed_leaves(client: SyncPrefectClient) -> None:
    with pytest.raises(RunAborted, match="the flow run is Crashed"):
        seen(setting(client, Crashed(message="by hand")))


def test_a_deleted_run_leaves(client: SyncPrefectClient) -> None:
    with pytest.raises(RunAborted, match="the flow run was deleted"):
        seen(lambda run: client.delete_flow_run(run.id))


def test_cancelling_ends_a_run_that_no_runner_stops(client: SyncPrefectClient) -> None:
    act = Runs(setting(client, Cancelling()))
    with pytest.raises(RunAborted, match="the flow run was cancelled"):
        seen(act)
    times = {one.name: one.timestamp for one in client.read_flow_run_states(act.run.id)}
    waited = (times["Cancelled"] - times["Cancelling"]).total_seconds()
    assert waited > 3 * LOOK_S, "a runner, if there is one, comes first"
    after = client.read_flow_run(act.run.id).state
    assert after is not None
    assert (after.type, after.message) == (StateType.CANCELLED, "Finished work is kept.")


def test_an_interrupted_run_is_cancelled_and_no_crash(client: SyncPrefectClient) -> None:
    def interrupt(run: FlowRun) -> None:
        assert tasks(client, run, ended=False)
        raise Interrupted(143)

    act = Runs(interrupt)
    with pytest.raises(Interrupted) as caught, stops_passed_on():
        seen(act)
    assert caught.value.code == 143
    after = client.read_flow_run(act.run.id).state
    assert after is not None
    assert (after.type, after.message) == (StateType.CANCELLED, "Interrupted. Finished work is kept.")
    assert [one.state_type for one in tasks(client, act.run)] == [StateType.CANCELLED]


def test_sigterm_cancels_a_run(client: SyncPrefectClient) -> None:
    act = Runs(lambda _: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted) as caught, stops_passed_on():
        seen(act)
    assert caught.value.code == 143
    assert [one.type for one in client.read_flow_run_states(act.run.id)][-1] == StateType.CANCELLED
    assert StateType.CRASHED not in [one.type for one in client.read_flow_run_states(act.run.id)]


@pytest.mark.parametrize("first", ["a signal", "the page"])
def test_one_stop_is_not_cut_short_by_another(client: SyncPrefectClient, first: str) -> None:
    """A runner sends SIGTERM to a run that saves already since its page was cancelled; so does a parent that ends."""
    saved: list[str] = []

    def save_after_a_stop(run: FlowRun) -> None:
        try:
            if first == "the page":
                client.set_flow_run_state(run.id, Cancelled(), force=True)
                time.sleep(20)
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            client.set_flow_run_state(run.id, Cancelled(), force=True)
            time.sleep(5 * LOOK_S)
            saved.append("whole")

    act = Runs(save_after_a_stop)
    with pytest.raises(Interrupted), stops_passed_on():
        seen(act)
    assert saved == ["whole"]
    assert client.read_flow_run(act.run.id).state_type == StateType.CANCELLED


def test_sigterm_leaves_a_paused_run_to_be_resumed(client: SyncPrefectClient) -> None:
    def pause(run: FlowRun) -> None:
        client.set_flow_run_state(run.id, Suspended(timeout_seconds=900), force=True)
        signal.raise_signal(signal.SIGTERM)

    act = Runs(pause)
    with pytest.raises(Interrupted), stops_passed_on():
        seen(act)
    assert client.read_flow_run(act.run.id).state_type == StateType.PAUSED


def test_sigterm_leaves_the_last_word_to_the_runner_that_cancels(client: SyncPrefectClient) -> None:
    """Its pages say Cancelled when the process is gone."""

    def cancel(run: FlowRun) -> None:
        client.set_flow_run_state(run.id, Cancelling(), force=True)
        signal.raise_signal(signal.SIGTERM)

    deployment = client.create_deployment(client.create_flow(seen), "cancelled")
    run = client.create_flow_run_from_deployment(deployment)
    with pytest.raises(Interrupted), stops_passed_on():
        run_flow(seen, flow_run=run, parameters={"act": cancel})
    assert client.read_flow_run(run.id).state_type == StateType.CANCELLING


def test_no_run_outside_a_flow() -> None:
    assert PrefectRun.current() is None
