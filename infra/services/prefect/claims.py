"""The claim of a process on the deployments that it serves: of several that start at once, one serves each.

A claim is a variable of the Prefect server with the process as its value, since the server makes a variable only once.
A process that was killed leaves its claim. The next one takes it over: at once if it sees that the process has ended,
otherwise after nobody has looked for runs for a while. Then it looks again a moment later, since another may have taken
the claim over too: the later one keeps it.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from infra.digests import sha256
from infra.errors import ConflictError
from infra.outputs.lease_holder import Holder, parse_holder
from infra.services.prefect.client import prompt_client
from infra.services.prefect.deployments import served_by_others

_SETTLE_S = 2.0
_ROUNDS = 3
_DIGITS = 12


@contextlib.contextmanager
def claimed(flow_name: str, names: Sequence[str], holder: Holder, say: Callable[[str], None]) -> Iterator[None]:
    """Claim deployments during the block.

    Args:
        flow_name: The flow's name.
        names: The deployments' names.
        holder: This process; make a new `Holder` for each block.
        say: Receives a line if it must wait to learn whether a claim is one of a living process.

    Raises:
        ConflictError: If another process has claimed one of them.
    """
    with contextlib.ExitStack() as stack:
        for name in sorted(names):  # in one order, so that of several processes one gets them all
            stack.callback(_release, flow_name, name, holder)
            _claim(flow_name, name, holder, say)
        yield


def _claim(flow_name: str, name: str, holder: Holder, say: Callable[[str], None]) -> None:
    variable, taken_over = _variable(flow_name, name), False
    other: Holder | None = None
    for _ in range(_ROUNDS):
        with get_client(sync_client=True) as client:
            if _create(client, variable, holder):
                if taken_over:
                    time.sleep(_SETTLE_S)
                if (other := _holder(client, variable)) == holder:
                    return
                continue
            other = _holder(client, variable)
        if other is not None and (other.is_here or (not other.is_gone and _is_served(flow_name, name, say))):
            break
        with get_client(sync_client=True) as client:
            if _holder(client, variable) == other:  # else somebody else took it over meanwhile
                _delete(client, variable)
                taken_over = True
    who = f" (host {other.host}, process {other.pid})" if other is not None else ""
    raise ConflictError(f"another process serves {name}{who}")


def _is_served(flow_name: str, name: str, say: Callable[[str], None]) -> bool:
    """Wait until a process looks for the runs of a deployment, but not for long; return whether one does."""
    return bool(served_by_others(flow_name, [name], say, wait=True))


def _create(client: SyncPrefectClient, variable: str, holder: Holder) -> bool:
    """Make a variable; return False if it is there."""
    try:
        client.create_variable(VariableCreate(name=variable, value=json.loads(holder.to_bytes())))
    except ObjectAlreadyExists:
        return False
    return True


def _holder(client: SyncPrefectClient, variable: str) -> Holder | None:
    """Return the process that has a claim; None if nobody has, or if the variable is none of ours."""
    found = client.read_variable_by_name(variable)
    return None if found is None else parse_holder(json.dumps(found.value).encode())


def _delete(client: SyncPrefectClient, variable: str) -> None:
    with contextlib.suppress(ObjectNotFound):
        client.delete_variable_by_name(variable)


def _release(flow_name: str, name: str, holder: Holder) -> None:
    """Give up a claim if it is this process's; if the server is away, the next process takes it over."""
    variable = _variable(flow_name, name)
    with contextlib.suppress(Exception), prompt_client() as client:
        if _holder(client, variable) == holder:
            _delete(client, variable)


def _variable(flow_name: str, name: str) -> str:
    """Return the name of a deployment's variable, which may hold fewer characters than the deployment's name."""
    return f"ddpm_serves_{sha256(f'{flow_name}/{name}'.encode())[:_DIGITS]}"
