"""A run over its time: its work stops as by a cancel, and its tasks do not stay as running."""

import threading
import time

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType

from infra.errors import ConfigError
from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunAborted, RunOutOfTime
from tests.infra.services.prefect.gate import Gate

pytestmark = pytest.mark.usefixtures("no_signal_of_ours_stays")


def watched(seconds: float, limit_s: float, caught: list[BaseException]) -> str:
    """A flow of two tasks, of which the second sleeps so long; return its id."""

    @task
    def short() -> None:
        pass

    @task
    def long() -> None:
        time.sleep(seconds)

    @flow(persist_result=False)
    def limited() -> str:
        page = PrefectRun.current()
        assert page is not None
        try:
            with page.watched(limit_s):
                short()
                long()
        except RunOutOfTime as over:
            caught.append(over)
        return str(page.id)

    return limited()


def test_it_stops_in_the_middle_of_a_task(client: SyncPrefectClient) -> None:
    caught: list[BaseException] = []
    begun = time.monotonic()
    number = watched(30, 2.0, caught)
    assert time.monotonic() - begun < 15
    (over,) = caught
    assert isinstance(over, RunAborted), "so that Ray's waits let it through, and Prefect calls nothing crashed"
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[number]))
    tasks = {one.name.partition("-")[0]: one.state_type for one in client.read_task_runs(flow_run_filter=mine)}
    assert tasks == {"short": StateType.COMPLETED, "long": StateType.CANCELLED}


@pytest.mark.slow
def test_it_stops_while_the_server_is_away(gate: Gate) -> None:
    caught: list[BaseException] = []
    page = None

    @flow(persist_result=False)
    def alone() -> None:
        nonlocal page
        page = PrefectRun.current()
        assert page is not None
        gate.shut()
        begun = time.monotonic()
        try:
            with page.watched(1.0):
                time.sleep(20)
        except RunOutOfTime as over:
            caught.append(over)
        assert time.monotonic() - begun < 15
        gate.open()

    alone()
    assert len(caught) == 1


def test_a_run_within_its_time_is_left_alone(client: SyncPrefectClient) -> None:
    caught: list[BaseException] = []
    watched(0.0, 30.0, caught)
    assert not caught
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_limit_needs_the_main_thread(client: SyncPrefectClient) -> None:
    """A signal reaches no other; a limit that never fires would be worse than none."""
    found: list[BaseException] = []

    @flow(persist_result=False)
    def elsewhere() -> None:
        page = PrefectRun.current()
        assert page is not None

        def work() -> None:
            try:
                with page.watched(5.0):
                    pass
            except ConfigError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    elsewhere()
    assert [str(error) for error in found] == ["timeout: needs the main thread of a process"]
