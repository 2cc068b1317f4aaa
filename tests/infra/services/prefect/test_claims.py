"""Of several processes that serve the same deployments, one has the claim."""

import contextvars
import json
import threading
import uuid
from collections.abc import Callable

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate

from infra.errors import ConflictError
from infra.outputs.lease_holder import Holder
from infra.services.prefect import claims, deployments
from infra.services.prefect.claims import claimed
from tests.faults.leases import elsewhere, ended, holder, never

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def names() -> list[str]:
    """Deployments that nobody else has."""
    return [f"digits-{uuid.uuid4().hex[:8]}" for _ in range(2)]


def put(client: SyncPrefectClient, name: str, who: Holder) -> None:
    """Leave the claim of a process."""
    variable = claims._variable("pipeline", name)
    client.create_variable(VariableCreate(name=variable, value=json.loads(who.to_bytes())))


def left(client: SyncPrefectClient) -> list[str]:
    return [one.name for one in client.read_variables() if one.name.startswith("ddpm_serves_")]


def test_of_processes_that_start_at_once_one_serves(client: SyncPrefectClient, names: list[str]) -> None:
    """The order in which they name the deployments does not matter."""
    gate, tried, outcomes = threading.Barrier(4), threading.Barrier(4), list[str]()

    def serve(mine: list[str]) -> None:
        gate.wait(30)
        try:
            with claimed("pipeline", mine, holder(), never):
                outcomes.append("serves")
                tried.wait(30)
        except ConflictError:
            outcomes.append("refused")
            tried.wait(30)

    orders = [names, names[::-1]] * 2
    contexts = [contextvars.copy_context() for _ in orders]
    threads = [
        threading.Thread(target=context.run, args=(serve, order))
        for context, order in zip(contexts, orders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["refused", "refused", "refused", "serves"]
    assert left(client) == []


def test_the_claim_of_a_process_that_ended_is_taken_over_at_once(
    client: SyncPrefectClient, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_SETTLE_S", 0.1)
    put(client, names[0], ended())
    with claimed("pipeline", names, holder(), never):
        assert len(left(client)) == 2
    assert left(client) == []


def test_the_claim_of_a_machine_that_gives_no_sign_is_taken_over(
    client: SyncPrefectClient, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_SETTLE_S", 0.1)
    monkeypatch.setattr(deployments, "_POLL_LIMIT_S", 0.2)
    waits: list[str] = []
    put(client, names[0], elsewhere())
    with claimed("pipeline", names[:1], holder(), waits.append):
        assert waits == [f"waiting 0 s at most to learn whether another process serves {names[0]}"]


def test_a_process_elsewhere_that_looks_for_runs_keeps_its_claim(
    client: SyncPrefectClient, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "served_by_others", lambda *_, **__: names[:1])
    put(client, names[0], elsewhere())
    with (
        pytest.raises(ConflictError, match=rf"another process serves {names[0]} \(host node7, process \d+\)"),
        claimed("pipeline", names[:1], holder(), never),
    ):
        pytest.fail("it serves")
    assert len(left(client)) == 1
    client.delete_variable_by_name(left(client)[0])


def test_of_two_that_take_over_one_claim_the_later_one_keeps_it(
    client: SyncPrefectClient, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, names[0], ended())
    later = holder("later")

    def overtake(_: float) -> None:
        client.delete_variable_by_name(claims._variable("pipeline", names[0]))
        put(client, names[0], later)

    _sleep(monkeypatch, overtake)
    with pytest.raises(ConflictError), claimed("pipeline", names[:1], holder(), never):
        pytest.fail("both serve")
    (variable,) = left(client)
    found = client.read_variable_by_name(variable)
    assert found is not None
    assert found.value["token"] == later.token
    client.delete_variable_by_name(variable)


def _sleep(monkeypatch: pytest.MonkeyPatch, instead: Callable[[float], None]) -> None:
    class Clock:
        sleep = staticmethod(instead)

    monkeypatch.setattr(claims, "time", Clock)
