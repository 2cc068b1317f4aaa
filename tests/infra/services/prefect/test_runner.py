"""Deployments belong to whoever uses the pages: what a restart keeps, brings up to date and clears away."""

import dataclasses
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Cancelling, Running

from infra.errors import StorageError
from infra.services.prefect import runner as module
from infra.services.prefect.run import SERVER_VARIABLE
from infra.services.prefect.runner import (
    PAUSED_TAG,
    Deployment,
    ServedDeployment,
    ServingRunner,
    _Capacity,
    pause,
    register,
)

SCHEDULES = [
    {
        "schedule": {"interval": 600, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "Europe/Vienna"},
        "active": True,
        "parameters": {"train": {"images": 512}},
        "slug": "often",
    },
    {"schedule": {"cron": "0 3 * * *", "timezone": "UTC"}, "active": False, "slug": "nightly", "max_scheduled_runs": 2},
]


@flow(name="deployed")
def deployed(preset: str = "", train: dict[str, Any] | None = None) -> None:
    pass


@pytest.fixture
def deployment() -> Deployment:
    """A deployment that nobody else has."""
    return Deployment(
        name=f"digits-{uuid.uuid4().hex[:8]}",
        description="Minutes.",
        parameters={"preset": "digits", "root": "/runs"},
        schema={"title": "Parameters", "type": "object", "properties": {"train": {"type": "object"}}},
        tags=["ddpm", "digits"],
        accepts=lambda parameters: "old" not in parameters,
    )


def _post(client: SyncPrefectClient, served: ServedDeployment, path: str, body: Any, method: str = "POST") -> Any:
    answer = client.request(method, f"/deployments/{served.number}{path}", json=body)
    return answer.json() if answer.content else None


def _read(client: SyncPrefectClient, served: ServedDeployment) -> DeploymentResponse:
    return client.read_deployment(served.number)


def _schedules(client: SyncPrefectClient, served: ServedDeployment) -> list[dict[str, Any]]:
    found = [one.model_dump(exclude={"updated"}) for one in _read(client, served).schedules]
    return sorted(found, key=lambda one: str(one["slug"]))


def _await(happened: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_new_deployment(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    made = _read(client, served)
    assert (made.name, made.description, made.paused) == (deployment.name, "Minutes.", False)
    assert made.parameters == {"preset": "digits", "root": "/runs"}
    assert made.parameter_openapi_schema is not None
    assert made.parameter_openapi_schema["properties"] == {"train": {"type": "object"}}
    assert sorted(made.tags) == ["ddpm", "digits"]
    assert made.entrypoint == f"{deployed.__module__}.deployed"
    assert made.schedules == []
    assert client.read_deployment_by_name(f"deployed/{deployment.name}").id == served.number


def test_a_restart_keeps_schedules_and_brings_ours_up_to_date(
    client: SyncPrefectClient, deployment: Deployment
) -> None:
    served = register(deployed, deployment)
    _post(client, served, "/schedules", SCHEDULES)
    before = _schedules(client, served)
    assert [(one["slug"], one["active"], one["parameters"]) for one in before] == [
        ("nightly", False, {}),
        ("often", True, {"train": {"images": 512}}),
    ]
    newer = dataclasses.replace(
        deployment,
        description="Hours.",
        schema={"title": "Parameters", "type": "object", "properties": {"images": {"type": "integer"}}},
        tags=["ddpm", "newer"],
        parameters={"preset": "digits", "root": "/elsewhere"},
    )
    pause([served])
    again = register(deployed, newer)
    assert again.number == served.number
    assert _schedules(client, served) == before
    made = _read(client, served)
    assert (made.description, made.parameter_openapi_schema) == ("Hours.", newer.schema)
    assert made.parameters == {"preset": "digits", "root": "/elsewhere"}
    assert {"ddpm", "newer"} <= set(made.tags)


@pytest.mark.parametrize("by_user", [False, True], ids=["ours", "the user's"])
def test_a_pause_of_ours_ends_and_a_user_s_stays(
    client: SyncPrefectClient, deployment: Deployment, by_user: bool
) -> None:
    served = register(deployed, deployment)
    if by_user:
        client.pause_deployment(served.number)
    for _ in range(2):
        pause([served])
        assert _read(client, served).paused
        assert (PAUSED_TAG in _read(client, served).tags) == (not by_user)
        register(deployed, deployment)
        assert _read(client, served).paused == by_user
        assert PAUSED_TAG not in _read(client, served).tags


def test_what_a_user_tags_stays(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    _post(client, served, "", {"tags": ["ddpm", "digits", "mine"]}, "PATCH")
    pause([served])
    register(deployed, deployment)
    assert sorted(_read(client, served).tags) == ["ddpm", "digits", "mine"]


def test_parameters_of_a_user_stay_while_they_fit(
    client: SyncPrefectClient, deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    served = register(deployed, deployment)
    changed = {"preset": "digits", "root": "/of the user", "train": {"images": 512}}
    _post(client, served, "", {"parameters": changed}, "PATCH")
    register(deployed, deployment)
    assert _read(client, served).parameters == changed | {"root": "/runs"}, "where outputs go, serve decides"
    _post(client, served, "", {"parameters": changed | {"old": 1}}, "PATCH")
    logging.getLogger("infra.services.prefect.runner").addHandler(caplog.handler)
    try:
        register(deployed, deployment)
    finally:
        logging.getLogger("infra.services.prefect.runner").removeHandler(caplog.handler)
    assert _read(client, served).parameters == deployment.parameters
    assert f"deployment {deployment.name}: parameters of an older version were reset" in caplog.messages


def test_runs_planned_while_nobody_served_are_gone(client: SyncPrefectClient, deployment: Deployment) -> None:
    """Their server was killed, so nothing was paused; a run that somebody asked for by hand is still wanted."""
    served = register(deployed, deployment)
    by_hand = client.create_flow_run_from_deployment(served.number, name="by hand")
    _post(client, served, "/schedules", SCHEDULES[:1])
    past = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T02:00:00Z", "min_runs": 3}
    _post(client, served, "/schedule", past)
    which = DeploymentFilter(id=DeploymentFilterId(any_=[served.number]))
    late = [run for run in client.read_flow_runs(deployment_filter=which) if run.auto_scheduled]
    assert len(late) >= 3
    register(deployed, deployment)
    left = {run.id for run in client.read_flow_runs(deployment_filter=which)}
    assert by_hand.id in left
    assert not left & {run.id for run in late}
    assert client.read_flow_run(by_hand.id).state_type == StateType.SCHEDULED


def test_a_deployment_that_was_deleted_is_passed_over(client: SyncPrefectClient, deployment: Deployment) -> None:
    deleted = register(deployed, deployment)
    other = register(deployed, dataclasses.replace(deployment, name=f"{deployment.name}-other"))
    client.delete_deployment(deleted.number)
    pause([deleted, other])
    assert _read(client, other).paused


def test_an_idle_runner_stops_within_seconds(
    client: SyncPrefectClient, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_S", 0.2)
    served, said = register(deployed, deployment), []
    _post(client, served, "/schedules", SCHEDULES)
    schedules = _schedules(client, served)
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
        assert _schedules(client, served) == schedules, "the runner registers nothing anew"
        assert not _read(client, served).paused
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


class _Broken(ServedDeployment):
    async def aapply(self, *_: object, **__: object) -> uuid.UUID:
        raise ConnectionError("all attempts failed")


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
