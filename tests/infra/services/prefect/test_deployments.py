"""Deployments belong to whoever uses the pages: what a restart keeps, brings up to date and clears away."""

import dataclasses
import logging
import time
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse

from flows.cli import run_command
from flows.commands.serve import registered, serving_alone
from flows.recipe.served import served_preset
from infra.services.prefect.deployments import (
    PAUSED_TAG,
    Deployment,
    ServedDeployment,
    pause,
    register,
    served_by_others,
)
from infra.services.prefect.runner import ServingRunner
from tests.infra.services.prefect.conftest import Serving

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


def post(client: SyncPrefectClient, served: ServedDeployment, path: str, body: Any, method: str = "POST") -> Any:
    answer = client.request(method, f"/deployments/{served.number}{path}", json=body)
    return answer.json() if answer.content else None


def read(client: SyncPrefectClient, served: ServedDeployment) -> DeploymentResponse:
    return client.read_deployment(served.number)


def schedules_of(client: SyncPrefectClient, served: ServedDeployment) -> list[dict[str, Any]]:
    found = [one.model_dump(exclude={"updated"}) for one in read(client, served).schedules]
    return sorted(found, key=lambda one: str(one["slug"]))


def test_a_new_deployment(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    made = read(client, served)
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
    post(client, served, "/schedules", SCHEDULES)
    before = schedules_of(client, served)
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
    assert schedules_of(client, served) == before
    made = read(client, served)
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
        assert read(client, served).paused
        assert (PAUSED_TAG in read(client, served).tags) == (not by_user)
        register(deployed, deployment)
        assert read(client, served).paused == by_user
        assert PAUSED_TAG not in read(client, served).tags


def test_what_a_user_tags_stays(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    post(client, served, "", {"tags": ["ddpm", "digits", "mine"]}, "PATCH")
    pause([served])
    register(deployed, deployment)
    assert sorted(read(client, served).tags) == ["ddpm", "digits", "mine"]


def test_parameters_of_a_user_stay_while_they_fit(
    client: SyncPrefectClient, deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    served = register(deployed, deployment)
    changed = {"preset": "digits", "root": "/of the user", "train": {"images": 512}}
    post(client, served, "", {"parameters": changed}, "PATCH")
    register(deployed, deployment)
    assert read(client, served).parameters == changed | {"root": "/runs"}, "where outputs go, serve decides"
    post(client, served, "", {"parameters": changed | {"old": 1}}, "PATCH")
    logging.getLogger("infra.services.prefect.deployments").addHandler(caplog.handler)
    try:
        register(deployed, deployment)
    finally:
        logging.getLogger("infra.services.prefect.deployments").removeHandler(caplog.handler)
    assert read(client, served).parameters == deployment.parameters
    assert f"deployment {deployment.name}: parameters of an older version were reset" in caplog.messages


def test_runs_planned_while_nobody_served_are_gone(client: SyncPrefectClient, deployment: Deployment) -> None:
    """Their server was killed, so nothing was paused; a run that somebody asked for by hand is still wanted."""
    served = register(deployed, deployment)
    by_hand = client.create_flow_run_from_deployment(served.number, name="by hand")
    post(client, served, "/schedules", SCHEDULES[:1])
    past = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T02:00:00Z", "min_runs": 3}
    post(client, served, "/schedule", past)
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
    assert read(client, other).paused


def test_a_second_that_serves_the_same_is_refused_and_changes_nothing(
    client: SyncPrefectClient,
    serving: Serving,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first to end would pause the deployment of both; the runs of each would go to either."""
    monkeypatch.setattr("flows.commands.serve.work_off", lambda *_: None)
    served = registered(serving.root, [served_preset("digits")])
    runner, waits = ServingRunner(served, 1, print, waiting=""), list[str]()
    runner.start()
    try:
        end = time.monotonic() + 30
        while read(client, served[0]).last_polled is None:
            assert time.monotonic() < end
            time.sleep(0.2)
        client.update_deployment(served[0].number, DeploymentUpdate(description="mine"))
        assert run_command(["serve", "digits", "--root", serving.root]) == 5
        printed = capsys.readouterr().err
        assert f"Prefect server {serving.api.ui}: another process serves digits from it - stop that one" in printed
        after = read(client, served[0])
        assert (after.description, after.paused) == ("mine", False)
    finally:
        runner.stop()
    assert served_by_others(served[0].flow_name, ["digits", "none"], waits.append) == []
    assert len(waits) == 1, "it was served a moment ago"


def test_of_two_that_start_in_the_same_seconds_one_is_refused(
    client: SyncPrefectClient,
    serving: Serving,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first has looked for others, and does not look for runs yet."""
    monkeypatch.setattr("flows.commands.serve.work_off", lambda *_: None)
    arguments = ["serve", "digits", "--name", "twice", "--root", serving.root]
    recipe = dataclasses.replace(served_preset("digits"), name="twice")
    with serving_alone([recipe], dataclasses.replace(serving.api, server=None)):
        assert run_command(arguments) == 5
        printed = capsys.readouterr().err
        assert f"Prefect server {serving.api.ui}: another process serves twice (host " in printed
        assert " from it - stop that one" in printed
    assert run_command(arguments) == 0, "the first gives up its claim when it ends"
