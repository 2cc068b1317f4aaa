"""Records are plain data: they load without MLflow and cannot change after they were made."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from infra.record import DatasetInput, ModelFile, StageRecord, TrackedRun

TOP = Path(__file__).parent.parent.parent


def test_records_and_tracker_load_no_mlflow() -> None:
    program = "import sys, infra.record, infra.tracking.tracker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TOP)
    assert not {name for name in done.stdout.split() if name.startswith(("mlflow", "boto3"))}


def test_no_field_changes_after_the_making() -> None:
    records = [
        (DatasetInput(name="digits", uri="/data", digest="d", context="training"), "digest"),
        (ModelFile(name="net", uri="/net", sha256="s"), "sha256"),
        (TrackedRun(key="k", name="digits"), "key"),
        (StageRecord(key="k", digest="d"), "digest"),
    ]
    for record, field in records:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field, "other")


def test_two_records_share_no_dictionary() -> None:
    one, two = StageRecord(key="a", digest="d"), StageRecord(key="b", digest="d")
    one.metrics["x"] = 1.0
    assert two.metrics == {}
