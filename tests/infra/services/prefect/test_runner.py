"""The runner: it waits for runs, says what ended it, and stops within seconds."""

import logging
import os
import threading
import time
import uuid

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.states import Cancelling, Running

from infra.errors import StorageError
from infra.services.prefect import runner as module
from infra.services.prefect.deployments import Deployment, ServedDeployment, register
from infra.services.prefect.run.stops import SERVER_VARIABLE
from infra.services.prefect.runner import ServingRunner, _Capacity
from tests.infra.services.prefect.test_deployments import SCHEDULES, deployed, post, read, schedules_of


class _Broken(ServedDeployment):
    async def aapply(self, *_: object, **__: object) -> uuid.UUID:
        raise ConnectionError("all attempts failed")


def test_an_idle_runner_stops_within_seconds(
    client: SyncPrefectClient, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_S", 0.2)
    served, said = register(deployed, deployment), []
    post(client, served, "/schedules", SCHEDULES)
    schedules = schedules_of(client, served)
    runner = ServingRunner([served], 1, said.append, waiting="a run waits")
    runner.start()
    try:
        assert os.environ[SERVER_VARIABLE] == str(os.getpid()), "what it starts ends with it"
        runner.watch()
        for states in ([Running(), Cancelling()], [Running()]):  # cancelling one that waits ends it at once
            run = client.create_flow_run_from_deployment(served.number, name=states[-1].name)
            for state in states:
                client.set_flow_run_state(run.id, state, force=True)
        runner.finish_cancelling()
        which = DeploymentFilter(id=DeploymentFilterId(any_=[served.number]))
        ended = {run.name: run.state for run in client.read_flow_runs(deployment_filter=which)}
        assert (ended["Cancelling"].name, ended["Cancelling"].message) == ("Cancelled", "It had no process.")
        assert ended["Running"].name == "Running"
        assert schedules_of(client, served) == schedules, "the runner registers nothing anew"
        assert not read(client, served).paused
    finally:
        begun = time.monotonic()
        runner.stop()
    assert time.monotonic() - begun < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "prefect-runner"]
    assert SERVER_VARIABLE not in os.environ
    assert not [one for one in logging.getLogger("prefect.runner").filters if isinstance(one, _Capacity)]
    assert not said
    with pytest.raises(StorageError, match="away for too long"):
        runner.watch()
    runner.stop()


def test_a_runner_that_ended_says_why(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    broken = _Broken(name=served.name, flow_name=served.flow_name, number=served.number)
    runner = ServingRunner([broken], 1, print, waiting="a run waits")
    runner.start()
    with pytest.raises(
        StorageError, match=r"the Prefect server is away for too long \(all attempts failed\)"
    ) as caught:
        runner.watch()
    assert caught.value.exit_code == 4
    assert "`ddpm serve` again" in caught.value.remedy
    runner.stop()


def test_runs_that_wait_are_said_once() -> None:
    said: list[str] = []
    lines = _Capacity(said.append, "a run waits: 2 at a time (--limit)")
    for number in (1, 1, 2):
        record = logging.makeLogRecord({"msg": f"{number} scheduled runs skipped (at capacity)"})
        assert not lines.filter(record)
    assert said == ["a run waits: 2 at a time (--limit)"]
    assert lines.filter(logging.makeLogRecord({"msg": "Completed submission of flow run"}))
