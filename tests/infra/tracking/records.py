"""Records to track, and what has arrived of them."""

import logging
from pathlib import Path
from typing import Any

import pytest

from infra.record import DatasetInput, StageRecord, TrackedRun
from infra.tracking.tracker import Tracker

ROWS = [
    {"images_seen": 64 * n, "time_ms": 1_700_000_000_000 + n, "loss": 1 / n, "grad_norm": None} for n in range(1, 21)
]
STEPS = [row["images_seen"] for row in ROWS]
SOURCE = DatasetInput(name="digits", uri="s3://bucket/digits", digest="f" * 64, purpose="source")


def make_tracker(folder: Path, **more: Any) -> Tracker:
    return Tracker(f"sqlite:///{folder / 'mlflow.db'}", "exp", folder / "artifacts", **more)


def make_run(key: str, **more: Any) -> TrackedRun:
    return TrackedRun(key=key, **({"name": f"digits-{key[:8]}", "params": {"train.lr": 0.1}} | more))


def record(**more: Any) -> StageRecord:
    fields = {
        "key": "stage-key",
        "digest": "d" * 64,
        "metrics": {"train/fd": 1.25},
        "history": ROWS,
        "files": {"notes.txt": b"hello"},
        "inputs": [DatasetInput(name="digits", uri='/a "b"/\\c', digest="e" * 64, purpose="training")],
        "tags": {"ddpm.uri": "/somewhere"},
    }
    return StageRecord(**fields | more)


def all_runs(tracker: Tracker, key: str) -> dict[str, Any]:
    """A pipeline's runs by stage; fails if one is there twice."""
    assert tracker._runs.store is not None
    found = tracker._runs.store.client.search_runs(
        [tracker._runs.store.experiment_id], f"tags.`ddpm.pipeline_key` = '{key}'"
    )
    stages = [run.data.tags["ddpm.stage"] for run in found]
    assert len(set(stages)) == len(stages), f"a run twice: {stages}"
    return dict(zip(stages, found, strict=True))


def client_of(tracker: Tracker) -> Any:
    assert tracker._runs.store is not None
    return tracker._runs.store.client


def steps(tracker: Tracker, run: Any, name: str = "train/loss") -> list[int]:
    return [metric.step for metric in client_of(tracker).get_metric_history(run.info.run_id, name)]


def statuses(tracker: Tracker, key: str) -> dict[str, str]:
    return {stage: run.info.status for stage, run in all_runs(tracker, key).items()}


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [entry for entry in caplog.records if entry.name.startswith("infra.")]
