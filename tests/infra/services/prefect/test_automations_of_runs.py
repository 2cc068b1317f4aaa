"""Automations that a run brings to a server that lacks them, beside its work."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from infra.services.prefect.automations import provided, shipped
from tests.infra.services.prefect.test_automations import await_that, name, of, quiet

__all__ = ["name"]  # a fixture


def heartbeats(client: SyncPrefectClient, run: FlowRun) -> int:
    query = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    return len(client.request("POST", "/events/filter", json={"filter": query}).json()["events"])


def test_a_run_brings_what_its_server_lacks(
    client: SyncPrefectClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows its life again, as an automation marks only a run of which it has heard."""
    monkeypatch.setattr("infra.services.prefect.automations._LOADING_S", 0.1)
    runs: list[FlowRun] = []

    @flow(name=name, persist_result=False)
    def work(seconds: float = 0.0) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        runs.append(context.flow_run)
        with provided(quiet):
            await_that(lambda: len(of(client, name)) == 5, lambda: of(client, name))
            time.sleep(seconds)

    contexts = [copy_context(), copy_context()]  # which know the server
    with ThreadPoolExecutor(2) as pool:  # two at once bring no second set
        list(pool.map(lambda context: context.run(work, 2.0), contexts))
    time.sleep(1)
    before = of(client, name)
    assert [one.name for one in before] == [one.name for one in sorted(shipped(name), key=lambda one: one.name)]
    await_that(lambda: max(heartbeats(client, run) for run in runs) == 2, lambda: runs)
    client.pause_automation(before[0].id)
    written = client.request("POST", "/automations/filter", json={}).json()
    work(1.0)
    assert client.request("POST", "/automations/filter", json={}).json() == written, "what is there stays as it is"


def test_a_run_without_heartbeats_switches_nothing_off_for_others(client: SyncPrefectClient, name: str) -> None:
    @flow(name=name, persist_result=False)
    def work(count: int) -> None:
        with provided(quiet):
            await_that(lambda: len(of(client, name)) == count, lambda: of(client, name))

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        work(4)
    work(5)
    assert [one.name for one in of(client, name) if not one.enabled] == []


def test_a_run_goes_on_without_automations(
    client: SyncPrefectClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no such route")

    said: list[str] = []

    @flow(name=name, persist_result=False)
    def work() -> str:
        with provided(said.append):
            time.sleep(0.5)
            return "done"

    with monkeypatch.context() as patch:
        patch.setattr(SyncPrefectClient, "read_automations", refuse)
        assert work() == "done"
        assert ["takes no automations (no such route)" in line for line in said] == [True]
        for variable in ("DDPM_SERVED_BY", "DDPM_BRIEF_SERVER"):
            with monkeypatch.context() as patched:
                patched.setenv(variable, "1")
                assert work() == "done"
        assert len(said) == 1, "a server of our own is not asked"
