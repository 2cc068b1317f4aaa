"""The schedule of the command line: it follows the command, and those of the users stay."""

import dataclasses

import pytest
from prefect.client.orchestration import SyncPrefectClient

from infra.errors import ConfigError, Term
from infra.services.prefect.deployments import Deployment, register
from infra.services.prefect.schedule import SLUG, bring_schedule, cron_schedule
from tests.infra.services.prefect.test_deployments import SCHEDULES, deployed, post, schedules_of


def test_it_is_brought_up_to_date_beside_those_of_the_users(client: SyncPrefectClient, deployment: Deployment) -> None:
    nightly = cron_schedule("0 3 * * *", "Europe/Vienna")
    served = register(deployed, dataclasses.replace(deployment, schedule=nightly))
    post(client, served, "/schedules", SCHEDULES)
    users = [one for one in schedules_of(client, served) if one["slug"] != SLUG]
    assert len(users) == 2

    def ours() -> list[tuple[str, str, bool]]:
        found = schedules_of(client, served)
        assert [one for one in found if one["slug"] != SLUG] == users
        mine = [one for one in found if one["slug"] == SLUG]
        return [(one["schedule"]["cron"], one["schedule"]["timezone"], one["active"]) for one in mine]

    assert ours() == [("0 3 * * *", "Europe/Vienna", True)]
    hourly = cron_schedule("5 * * * *", "UTC")
    for _ in range(2):
        register(deployed, dataclasses.replace(deployment, schedule=hourly))
        assert ours() == [("5 * * * *", "UTC", True)]
    (mine,) = [one for one in client.read_deployment_schedules(served.number) if one.slug == SLUG]
    theirs = {"train": {"images": 7}}
    client.update_deployment_schedule(served.number, mine.id, active=False, parameters=theirs)
    register(deployed, dataclasses.replace(deployment, schedule=nightly))
    assert ours() == [("0 3 * * *", "Europe/Vienna", False)], "its user paused it"
    (mine,) = [one for one in client.read_deployment_schedules(served.number) if one.slug == SLUG]
    assert mine.parameters == theirs
    register(deployed, deployment)
    assert ours() == []
    bring_schedule(client, served.number, None)
    assert ours() == []


@pytest.mark.parametrize("cron", ["", "0 3 * *", "every night", "61 * * * *"])
def test_what_is_no_cron_expression(cron: str) -> None:
    with pytest.raises(ConfigError, match="is no cron expression") as caught:
        cron_schedule(cron, "UTC")
    assert caught.value.item == Term.SCHEDULE
    assert "'0 3 * * *'" in caught.value.remedy


@pytest.mark.parametrize("timezone", ["", "Vienna", "Europe/Vienna ", "../etc/passwd"])
def test_what_is_no_time_zone(timezone: str) -> None:
    with pytest.raises(ConfigError, match="no such time zone") as caught:
        cron_schedule("0 3 * * *", timezone)
    assert caught.value.item == Term.TIME_ZONE
