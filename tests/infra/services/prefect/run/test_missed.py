"""Runs of a schedule that nobody could start: the first one that begins does the work of all that are due."""

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Running

from infra.services.prefect.deployments import Deployment, register
from infra.services.prefect.run.missed import skip_missed
from infra.services.prefect.run.run import PrefectRun
from tests.infra.services.prefect.test_deployments import deployed, post

HOURLY = {"interval": 3600, "anchor_date": "2020-01-01T00:00:00Z", "timezone": "UTC"}
PAST: dict[str, Any] = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-01T05:00:00Z", "min_runs": 5}
FUTURE = {"start_time": "2999-01-01T00:00:00Z", "end_time": "2999-01-01T05:00:00Z", "min_runs": 5}


def test_one_run_does_the_work_of_all_that_are_due(client: SyncPrefectClient, deployment: Deployment) -> None:
    served = register(deployed, deployment)
    slugs = ("hourly", "another")
    post(client, served, "/schedules", [{"schedule": HOURLY, "active": True, "slug": slug} for slug in slugs])
    by_hand = client.create_flow_run_from_deployment(served.number, name="by hand")
    for period in (PAST, FUTURE):
        post(client, served, "/schedule", period)
    which = DeploymentFilter(id=DeploymentFilterId(any_=[served.number]))

    def runs() -> dict[str, list[FlowRun]]:
        found: dict[str, list[FlowRun]] = {}
        for run in client.read_flow_runs(deployment_filter=which, limit=200):
            planned = run.expected_start_time
            # The server's own scheduler plans runs of today beside ours.
            if run.auto_scheduled and planned and (planned.year, planned.month) in ((2020, 1), (2999, 1)):
                slug = run.created_by.display_value if run.created_by else ""
                found.setdefault(f"{slug} {planned.year}", []).append(run)
        return found

    before = {name: len(found) for name, found in runs().items()}
    assert before.keys() == {"hourly 2020", "another 2020", "hourly 2999", "another 2999"}
    assert min(before.values()) >= 5
    first = runs()["hourly 2020"][0]
    client.set_flow_run_state(first.id, Running(), force=True)
    assert skip_missed(client.read_flow_run(first.id)) == before["hourly 2020"] - 1
    states = {name: sorted({str(run.state_name) for run in found}) for name, found in runs().items()}
    assert states.pop("hourly 2020") == ["Running", "Skipped"]
    assert all(state in ("Scheduled", "Late") for names in states.values() for state in names)
    assert client.read_flow_run(by_hand.id).state_type == StateType.SCHEDULED
    assert PrefectRun(client.read_flow_run(first.id)).skip_missed() == 0, "they are skipped already"
    assert PrefectRun(client.read_flow_run(by_hand.id)).skip_missed() == 0, "no schedule made it"


def test_a_run_with_other_parameters_does_other_work(client: SyncPrefectClient, deployment: Deployment) -> None:
    """A run that was planned before somebody edited the deployment keeps its parameters."""
    served = register(deployed, deployment)
    post(client, served, "/schedules", [{"schedule": HOURLY, "active": True, "slug": "hourly"}])
    post(client, served, "/schedule", PAST)
    which = DeploymentFilter(id=DeploymentFilterId(any_=[served.number]))
    runs = client.read_flow_runs(deployment_filter=which, limit=200)
    first, *_ = planned = [run for run in runs if run.expected_start_time and run.expected_start_time.year == 2020]
    edited = first.model_copy(update={"parameters": {**first.parameters, "name": "edited"}})
    assert skip_missed(edited) == 0
    assert skip_missed(first) == len(planned) - 1 >= 4
