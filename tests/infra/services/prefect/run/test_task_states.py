"""The tasks of a run as its page shows them: a sealed stage as cached, and each line in the log of its own task."""

import logging
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.logging.handlers import APILogWorker

from flows import pipeline
from flows.artifacts import Artifact, ReportPage
from flows.runtime.settings import RunSettings
from flows.stages.table import STAGES
from infra.services.prefect.run.run import PrefectRun
from tests.infra.services.prefect.run.test_run import tasks

SEALED = Artifact(name="prepare/a/manifests/all.json", key="a", digest="d", reused=True)
MADE = Artifact(name="train/b/manifests/all.json", key="b", digest="e")
RESULTS = {"prepare": SEALED, "train": MADE, "report": ReportPage(folder="reports/x")}


@flow(name="states", validate_parameters=False, persist_result=False)
def states(runs: list[FlowRun]) -> dict[str, Any]:
    current = PrefectRun.current()
    assert current is not None
    runs.append(current._flow_run)
    current.log("run x")
    chosen = [stage for stage in STAGES if stage.name in RESULTS]
    return {stage.name: pipeline._step(stage)(RunSettings(), None) for stage in chosen}


def test_a_sealed_stage_is_cached_and_its_lines_are_in_its_own_log(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_stage(stage: Any, _settings: RunSettings, _config: None) -> object:
        page = PrefectRun.current() or PrefectRun(runs[0])
        page.log(f"{stage.name}: sealed after 3 s, 99 images/s")
        page.log(f"{stage.name} Training may diverge", is_warning=True)
        return RESULTS[stage.name]

    monkeypatch.setattr(pipeline, "run_stage", run_stage)
    runs: list[FlowRun] = []
    assert states(runs) == RESULTS, "the next stage receives what was sealed"
    found = {task.name: task for task in tasks(client, runs[0])}
    shown = {name: (task.state.type, task.state.name) for name, task in found.items() if task.state is not None}
    completed = StateType.COMPLETED
    assert shown == {
        "prepare": (completed, "Cached"),
        "train": (completed, "Completed"),
        "report": (completed, "Completed"),
    }

    APILogWorker.drain_all(timeout=20)
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[runs[0].id])))
    lines = {log.message: (log.task_run_id, log.level) for log in logs}
    assert lines["run x"] == (None, logging.INFO)
    for name, task in found.items():
        assert lines[f"{name}: sealed after 3 s, 99 images/s"] == (task.id, logging.INFO)
        assert lines[f"{name} Training may diverge"] == (task.id, logging.WARNING)
