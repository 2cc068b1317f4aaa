"""Places in a deployment's limit on a real server: a run that is gone gives its place back, whoever notices it."""

import uuid
from collections.abc import Callable

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Crashed, Pending, Running

from infra.services.prefect.leftovers import mark_lost_runs
from infra.services.prefect.lost import LOST
from tests.infra.services.prefect.conftest import Serving


@flow(name="placed")
def placed() -> None:
    pass


def by_automation(serving: Serving, client: SyncPrefectClient, run: FlowRun) -> None:
    client.set_flow_run_state(run.id, Crashed(message=LOST))  # unforced, as `shipped` makes it


def by_our_next_start(serving: Serving, client: SyncPrefectClient, run: FlowRun) -> None:
    mark_lost_runs(serving.api.url)


@pytest.mark.parametrize("noticed", [by_automation, by_our_next_start])
@pytest.mark.parametrize("works", [False, True], ids=["pending", "running"])
def test_a_run_that_is_gone_blocks_no_other(
    serving: Serving,
    client: SyncPrefectClient,
    works: bool,
    noticed: Callable[[Serving, SyncPrefectClient, FlowRun], None],
) -> None:
    deployment = client.create_deployment(
        client.create_flow(placed),
        f"one-{uuid.uuid4().hex[:8]}",
        concurrency_limit=1,
    )
    gone, waiting = (client.create_flow_run_from_deployment(deployment) for _ in range(2))
    client.set_flow_run_state(gone.id, Pending())
    if works:
        client.set_flow_run_state(gone.id, Running())

    def begins() -> bool:
        client.set_flow_run_state(waiting.id, Pending())
        return client.read_flow_run(waiting.id).state_type == StateType.PENDING

    assert not begins(), "the limit is reached"
    noticed(serving, client, gone)
    assert client.read_flow_run(gone.id).state_type == StateType.CRASHED
    assert begins()


def test_parameters_beyond_512_kib_make_no_run(client: SyncPrefectClient) -> None:
    deployment = client.create_deployment(client.create_flow(placed), f"large-{uuid.uuid4().hex[:8]}")
    path = {"id": deployment}
    with pytest.raises(PrefectHTTPStatusError) as caught:
        client.request(
            "POST",
            "/deployments/{id}/create_flow_run",
            path_params=path,
            json={"parameters": {"name": "x" * 513 * 1024}},
        )
    assert caught.value.response.status_code == 422
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    assert not client.read_flow_runs(deployment_filter=mine)
