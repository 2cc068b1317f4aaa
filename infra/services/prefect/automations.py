"""Automations of a Prefect server: what it does by itself if a run is lost, fails, diverges or makes a champion.

`ddpm serve` and `ddpm up` install them; on a server without either, a run does so beside its work.

An automation belongs to the users of the pages: whether it is enabled and what it does survive a restart. Its trigger
and its description are ours and are brought up to date.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import copy_context
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing
from prefect.events.filters import AutomationFilter, AutomationFilterName
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.settings import get_current_settings

from infra.services.prefect.client import prompt_client
from infra.services.prefect.lost import LOST
from infra.services.prefect.run.page import CHAMPION_EVENT
from infra.services.prefect.run.stops import SERVER_VARIABLE
from infra.services.prefect.settings import BRIEF_SERVER_VARIABLE

_DEFAULT_HEARTBEAT_S = 180
# One sign of life may get lost, and a server that starts again needs time for the next.
_HEARTBEATS = 3
# A machine may have to start, and an image to arrive, before a run begins.
_PENDING_S = 1800.0
# The server loads a new automation by a message to itself.
_LOADING_S = 3.0
_HEARTBEAT = "prefect.flow-run.heartbeat"
# The states of type PENDING: each says that a run comes nearer to its beginning.
_PENDING = frozenset(f"prefect.flow-run.{name}" for name in ("Pending", "Submitting", "InfrastructurePending"))
# After these no process has to give signs of life. A run that is cancelled has a process until it is Cancelled.
_LEFT = frozenset(
    f"prefect.flow-run.{name}"
    for name in ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut", "Diverged", "Suspended", "Paused")
)
_ANY = frozenset({"prefect.flow-run.*"})
_NEVER_BEGAN = "It did not begin in time, so it is given up. A new run does its work."
_CHANGE_ACTION = "Does nothing by itself: change its action to a notification, a webhook or the run of a deployment."


def shipped(flow: str, *, lost_s: float = 0.0, pending_s: float = _PENDING_S) -> list[AutomationCore]:
    """Return the automations for the runs of a flow.

    Args:
        flow: The flow's name.
        lost_s: Seconds without a sign of life after which a run counts as lost; 0 for three times Prefect's setting
            `flows.heartbeat_frequency`. Prefect accepts 10 or more.
        pending_s: Seconds after which a run that has not begun is given up.
    """
    heartbeat = get_current_settings().flows.heartbeat_frequency
    silence = lost_s or _HEARTBEATS * (heartbeat or _DEFAULT_HEARTBEAT_S)
    return [
        _automation(
            f"{flow}: run lost",
            f"A run whose process gives no sign of life for {silence:.0f} s is marked as crashed. A process that lives "
            "after all takes its run back and goes on.",
            _silence(flow, {_HEARTBEAT}, _LEFT | {_HEARTBEAT}, silence),
            ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=LOST),
            enabled=heartbeat is not None,
        ),
        _automation(
            f"{flow}: run never began",
            f"A run that is pending for {pending_s:.0f} s is marked as crashed, so that it holds no place in a limit.",
            _silence(flow, _PENDING, _ANY, pending_s),
            ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=_NEVER_BEGAN),
        ),
        _automation(
            f"{flow}: run failed",
            f"A run failed, crashed or ran out of time. {_CHANGE_ACTION}",
            _event(flow, "prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"),
        ),
        _automation(
            f"{flow}: run diverged",
            f"Training or sampling met numbers that are not finite. {_CHANGE_ACTION}",
            _event(flow, "prefect.flow-run.Diverged"),
        ),
        _automation(
            f"{flow}: new champion",
            f"A run's network became the champion of MLflow's registry. {_CHANGE_ACTION}",
            EventTrigger(expect={CHAMPION_EVENT}, posture=Posture.Reactive, threshold=1),
        ),
    ]


def install(automations: Sequence[AutomationCore], say: Callable[[str], None]) -> None:
    """Create the automations, or bring those of the same names up to date.

    Args:
        automations: As they are shipped.
        say: Called with a line if the server takes none, as those of other versions may.
    """
    try:
        with get_client(sync_client=True) as client:
            for automation in automations:
                known = client.read_automations_by_name(automation.name)
                if not known:
                    client.create_automation(automation)
                for one in known:
                    _update(client, one, automation)
    except Exception as error:  # the runs need none of them
        say(_refused(error))


def _refused(error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the Prefect server takes no automations ({reason}); runs that are lost stay as running on its pages"


@contextlib.contextmanager
def provided(say: Callable[[str], None]) -> Iterator[None]:
    """Create the automations that the server of this process's flow run lacks, in a thread beside the block.

    One request tells that all are there. A server of our own is left alone: a `ddpm serve` installs them, and one that
    ends with its command has nobody to mark.

    Args:
        say: Called with a line if the server takes none; the run goes on.
    """
    context = FlowRunContext.get()
    if context is None or SERVER_VARIABLE in os.environ or BRIEF_SERVER_VARIABLE in os.environ:
        yield
        return
    flow, run, ended = context.flow, context.flow_run, threading.Event()
    name = flow.name if flow is not None else ""

    def provide() -> None:
        try:
            if _create_missing(shipped(name)) and run is not None and not ended.wait(_LOADING_S):
                _show_life(f"prefect.flow-run.{run.id}", f"prefect.flow.{run.flow_id}", name)
        except Exception as error:  # the run needs none of them
            say(_refused(error))

    threading.Thread(target=copy_context().run, args=[provide], name="prefect-automations", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _create_missing(automations: Sequence[AutomationCore]) -> bool:
    """Create those whose names are not there, and change no other; return whether there are new ones.

    One that this run's settings switch off is left to a run or a `ddpm serve` with others: it would stay off for all.
    Of equal ones that several runs have created at once the first one stays.
    """
    automations = [automation for automation in automations if automation.enabled]
    names = [automation.name for automation in automations]
    which = AutomationFilter(name=AutomationFilterName(any_=names))
    with prompt_client() as client:

        def oldest() -> dict[str, Automation]:
            return {
                one.name: one for one in client.read_automations(automations=which, sort=AutomationSort.CREATED_DESC)
            }

        known = oldest()
        made = [(one.name, client.create_automation(one)) for one in automations if one.name not in known]
        if made:
            first = oldest()
            for name, number in made:
                if name in first and first[name].id != number:
                    client.delete_automation(number)
    return bool(made)


def _show_life(run: str, flow: str, name: str) -> None:
    """Send a run's sign of life again: Prefect's engine sent the first one before the automation was there."""
    related = {"prefect.resource.id": flow, "prefect.resource.role": "flow", "prefect.resource.name": name}
    emit_event(_HEARTBEAT, {"prefect.resource.id": run}, related=[related])


def _update(client: SyncPrefectClient, known: Automation, shipped_one: AutomationCore) -> None:
    """Change what is ours, and nothing if that is as it was: a changed trigger forgets what it waits for."""
    if (known.trigger, known.description) == (shipped_one.trigger, shipped_one.description):
        return
    kept = {name: getattr(known, name) for name in ("enabled", "tags", "actions")}
    kept |= {name: getattr(known, name) for name in ("actions_on_trigger", "actions_on_resolve")}
    ours = {name: getattr(shipped_one, name) for name in ("name", "description", "trigger")}
    client.update_automation(known.id, AutomationCore(**ours, **kept))


def _automation(
    name: str, about: str, trigger: EventTrigger, action: ActionTypes | None = None, *, enabled: bool = True
) -> AutomationCore:
    return AutomationCore(
        name=name, description=about, enabled=enabled, tags=["ddpm"], trigger=trigger, actions=[action or DoNothing()]
    )


def _silence(flow: str, after: Collection[str], expect: Collection[str], within_s: float) -> EventTrigger:
    """Return the trigger that fires if none of the expected events of a run follows one of the others in time."""
    return EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=_of(flow),
        for_each={"prefect.resource.id"},
        after=set(after),
        expect=set(expect),
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=within_s),
    )


def _event(flow: str, *events: str) -> EventTrigger:
    """Return the trigger that fires at each of these events."""
    return EventTrigger(match_related=_of(flow), expect=set(events), posture=Posture.Reactive, threshold=1)


def _of(flow: str) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": flow}
