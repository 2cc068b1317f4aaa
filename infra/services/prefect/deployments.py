"""Deployments of a flow: registered, brought up to date, and paused while nobody serves them.

A deployment belongs to the users of the pages: its schedules, its pause and the parameters that they changed survive a
restart. Entry point, form, description and the schedule of the command line are ours and are brought up to date.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import DeploymentStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema

from infra.services.prefect.schedule import Schedule, bring_schedule

# A deployment that `serve` paused at its end carries it, so that the next start knows it from one that a user paused.
PAUSED_TAG = "paused-while-not-served"
# A runner asks for runs every three seconds, a worker of Prefect every ten; the server notes that some seconds later.
_POLL_LIMIT_S, _POLL_S = 15.0, 1.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One entry of the list of deployments.

    Attributes:
        name: Its name.
        description: Its text on the pages.
        parameters: The parameters of every run that names no others.
        schema: JSON schema of the form.
        tags: For filtering.
        accepts: Tells whether parameters that a user changed still fit; those of an older version may not.
        ours: Parameters that no user keeps: without a value in `parameters` they have none.
        schedule: The schedule of the command line; None if it names none.
        keeps_schedule: Whether the schedule of an earlier command stays if this one names none.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    schema: dict[str, Any]
    tags: Sequence[str]
    accepts: Callable[[dict[str, Any]], bool]
    ours: Collection[str] = ()
    schedule: Schedule | None = None
    keeps_schedule: bool = False


def served_by_others(
    flow_name: str, names: Sequence[str], say: Callable[[str], None], *, wait: bool = False
) -> list[str]:
    """Return those of these deployments whose runs another process looks for; call it before `register`.

    Two that serve one deployment take runs from each other, and the first to end pauses it for both.

    Args:
        flow_name: The flow's name.
        names: The deployments' names.
        say: Receives a line if it must wait to learn that, for some seconds.
        wait: Wait even if nobody has looked for runs of late, because a process is about to begin.
    """
    with get_client(sync_client=True) as client:

        def polled() -> dict[str, Any]:
            """Return when the server was last asked for runs of each, unless that is a minute ago."""
            found = {}
            for name in names:
                with contextlib.suppress(ObjectNotFound):
                    known = client.read_deployment_by_name(f"{flow_name}/{name}")
                    if known.status == DeploymentStatus.READY and known.last_polled is not None:
                        found[name] = known.last_polled
            return found

        before, end = polled(), time.monotonic() + _POLL_LIMIT_S
        if before or wait:
            served = next(iter([*before, *names]))
            say(f"waiting {_POLL_LIMIT_S:.0f} s at most to learn whether another process serves {served}")
        while (before or wait) and time.monotonic() < end:
            time.sleep(_POLL_S)
            if others := [name for name, moment in polled().items() if moment != before.get(name)]:
                return others
    return []


def register(flow: Flow[..., Any], deployment: Deployment) -> "ServedDeployment":
    """Create the deployment, or bring one that exists up to date."""
    made = flow.to_deployment(
        name=deployment.name,
        parameters=deployment.parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=deployment.description,
        tags=list(deployment.tags),
    )
    assert isinstance(made, RunnerDeployment), "to_deployment is synchronous outside an event loop"
    made._parameter_openapi_schema = ParameterSchema(**deployment.schema)
    with get_client(sync_client=True) as client:
        try:
            known = client.read_deployment_by_name(f"{flow.name}/{deployment.name}")
        except ObjectNotFound:
            made.apply()
            number = client.read_deployment_by_name(f"{flow.name}/{deployment.name}").id
            bring_schedule(client, number, deployment.schedule)
        else:
            number = known.id
            _update(client, known, made, deployment)
    return ServedDeployment(name=deployment.name, flow_name=flow.name, number=number)


def _update(
    client: SyncPrefectClient, known: DeploymentResponse, made: RunnerDeployment, deployment: Deployment
) -> None:
    """Change the fields that are ours and no more: a schedule that is not named here stays as it is."""
    kept = {name: value for name, value in (known.parameters or {}).items() if name not in deployment.ours}
    if not deployment.accepts(kept | deployment.parameters):
        logger.warning("deployment %s: parameters of an older version were reset", deployment.name)
        kept = {}
    changes: dict[str, Any] = {
        "description": deployment.description,
        "entrypoint": made.entrypoint,
        "parameter_openapi_schema": deployment.schema,
        "parameters": kept | deployment.parameters,
        "tags": sorted({*(tag for tag in known.tags if tag != PAUSED_TAG), *deployment.tags}),
    }
    changes["paused"] = known.paused and PAUSED_TAG not in known.tags
    # The pages' way to pause deletes the runs planned for the time in which nothing served, as cron skips them; the
    # client's way leaves the runs that are late by now.
    client.request("POST", "/deployments/{id}/pause_deployment", path_params={"id": known.id})
    if deployment.schedule is not None or not deployment.keeps_schedule:
        bring_schedule(client, known.id, deployment.schedule)  # while nothing is planned by the old one
    client.update_deployment(known.id, DeploymentUpdate(**changes))


class ServedDeployment(RunnerDeployment):
    """A deployment as `register` left it: the runner registers its deployments again, and this one stays as it is."""

    number: UUID

    async def aapply(self, *_: object, **__: object) -> UUID:
        """Return the id."""
        return self.number


def pause(deployments: Sequence[ServedDeployment]) -> None:
    """Pause the active deployments, since nobody serves them now; by the mark the next start activates them again.

    A server that is away costs a warning: the reason why serving ends is another one.
    """
    try:
        with get_client(sync_client=True) as client:
            for deployment in deployments:
                _pause(client, deployment)
    except Exception as error:  # the client's own errors, of which Prefect names only some
        logger.warning("the deployments could not be paused (%s); their schedules go on", type(error).__name__)


def _pause(client: SyncPrefectClient, deployment: ServedDeployment) -> None:
    try:
        known = client.read_deployment(deployment.number)
    except ObjectNotFound:  # somebody deleted it
        return
    if not known.paused:
        client.update_deployment(known.id, DeploymentUpdate(tags=sorted({*known.tags, PAUSED_TAG})))
        client.pause_deployment(known.id)
