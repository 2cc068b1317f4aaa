"""A run that is meant to run: it works on, whatever its server takes or refuses."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Running

from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunAborted
from tests.infra.services.prefect.gate import Gate
from tests.infra.services.prefect.run.test_run import LOOK_S, Runs, seen, tasks

pytestmark = pytest.mark.usefixtures("no_signal_of_ours_stays")


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings about the server."""
    logger, handler = logging.getLogger("infra.services.prefect.run.run"), _Warnings()
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


def test_a_run_that_is_meant_to_run_stays(client: SyncPrefectClient, warnings: list[str]) -> None:
    pages: list[PrefectRun] = []
    act = Runs(lambda _: pages[0].show_progress("train", 50.0, "half"))
    assert seen(act, seconds=0.5, prepare=pages.append) == "kept"
    assert client.read_flow_run(act.run.id).state_type == StateType.COMPLETED
    # The server records a task's beginning and end from events, and may do so late.
    states = {StateType.PENDING, StateType.RUNNING, StateType.COMPLETED}
    assert {one.state_type for one in tasks(client, act.run, ended=False)} <= states
    assert not warnings


def test_a_server_that_is_away_costs_one_warning(gate: Gate, client: SyncPrefectClient, warnings: list[str]) -> None:
    pages: list[PrefectRun] = []

    def lose_the_server(_: FlowRun) -> None:
        pages[0].rename("told later")
        gate.shut()
        threading.Timer(3.5, gate.open).start()

    act = Runs(lose_the_server)
    assert seen(act, seconds=4.5, prepare=pages.append) == "kept"
    (line,) = warnings
    assert line.startswith("the Prefect server does not answer (")
    assert line.endswith("; the work goes on")
    run = client.read_flow_run(act.run.id)
    assert (run.name, run.state_type) == ("told later", StateType.COMPLETED)


def test_a_server_that_takes_nothing_is_still_asked(client: SyncPrefectClient, warnings: list[str]) -> None:
    """The state on the page is refused at every look; whether the run is to go on counts all the same."""
    pages: list[PrefectRun] = []

    def refuse(_: SyncPrefectClient) -> None:
        raise ValueError("too large")

    def cancel_later(run: FlowRun) -> None:
        pages[0]._jobs.append(refuse)
        threading.Timer(5 * LOOK_S, lambda: client.set_flow_run_state(run.id, Cancelled(), force=True)).start()

    with pytest.raises(RunAborted, match="the flow run is Cancelled"):
        seen(cancel_later, prepare=pages.append)
    assert warnings == ["the Prefect server does not answer (too large); the work goes on"]


def test_outside_the_main_thread_a_run_is_shown_but_not_stopped(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(seen, parameters={}, state=Running())
    page = PrefectRun(run, LOOK_S)
    client.set_flow_run_state(run.id, Cancelled(), force=True)
    ended: list[str] = []

    def work() -> None:
        with page.watched():
            page.rename("shown")
            time.sleep(5 * LOOK_S)
        ended.append("worked on")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert ended == ["worked on"]
    assert client.read_flow_run(run.id).name == "shown"
