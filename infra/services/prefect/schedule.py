"""The schedule that a command line gives a deployment, beside those that users make on the pages."""

from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

from infra.errors import ConfigError, Term

# The mark by which the next start knows the schedule of the command line.
SLUG = "command-line"
Schedule = CronSchedule


def cron_schedule(cron: str, timezone: str) -> Schedule:
    """Return the schedule of a cron expression.

    Args:
        cron: Five fields, such as `0 3 * * *`, or six with seconds.
        timezone: A name of the IANA database, such as Europe/Vienna.

    Raises:
        ConfigError: If one of the two is not of that form.
    """
    check_timezone(timezone)
    try:
        return Schedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise ConfigError(
            f"{cron!r} is no cron expression",
            item=Term.SCHEDULE,
            remedy="write minute, hour, day, month and weekday, such as '0 3 * * *' for every night at three",
        ) from error


def check_timezone(timezone: str) -> None:
    """Check that there is such a time zone.

    Raises:
        ConfigError: If there is none.
    """
    try:
        ZoneInfo(timezone)
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(
            f"no such time zone: {timezone}", item=Term.TIME_ZONE, remedy="write a name such as Europe/Vienna or UTC"
        ) from error


def bring_schedule(client: SyncPrefectClient, deployment: UUID, schedule: Schedule | None) -> None:
    """Make the schedule of the command line the one that is given, and leave all others as they are.

    A user may have paused it on the pages, or given it parameters; both stay.

    Args:
        client: Of the server.
        deployment: The deployment's id.
        schedule: The schedule; None if there is none any more.
    """
    known = [one for one in client.read_deployment_schedules(deployment) if one.slug == SLUG]
    if schedule is None:
        for one in known:
            client.delete_deployment_schedule(deployment, one.id)
    elif known:
        # The server takes parameters that are not named for none.
        client.update_deployment_schedule(deployment, known[0].id, schedule=schedule, parameters=known[0].parameters)
    else:
        client.create_deployment_schedules(deployment, [DeploymentScheduleCreate(schedule=schedule, slug=SLUG)])
