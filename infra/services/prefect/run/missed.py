"""Runs that a schedule planned for times at which none could start: one run does the work of all of them."""

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled

from infra.services.prefect.client import prompt_client

_PAGE = 200


def skip_missed(run: FlowRun) -> int:
    """Cancel the other runs of a run's schedule that are due by now, and return how many there were.

    A run of a schedule begins with the data that is there now, so earlier ones and those that waited beside it would
    repeat its work. One that was planned with other parameters is never among them, nor one that somebody started.

    Args:
        run: A run that its schedule has made and that begins now.
    """
    assert run.created_by is not None, "the caller knows the schedule"
    skipped = 0
    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),
    )
    deployment = DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id] if run.deployment_id else []))
    with prompt_client() as client:
        for other in client.read_flow_runs(flow_run_filter=due, deployment_filter=deployment, limit=_PAGE):
            of_the_same = other.created_by is not None and other.created_by.id == run.created_by.id
            of_the_same = of_the_same and other.parameters == run.parameters
            if of_the_same and other.id != run.id and other.auto_scheduled and other.run_count == 0:
                said: State[Any] = Cancelled(
                    name="Skipped", message=f"{run.name} began after it was due, and does its work."
                )
                client.set_flow_run_state(other.id, said, force=True)
                skipped += 1
    return skipped
