"""The stop of a sweep, told to MLflow and to its page."""

import subprocess

import pytest

from flows.sweep.children import Child
from flows.sweep.record import SweepRecord
from flows.sweep.running import run_sweep
from infra.errors import Interrupted
from tests.flows.sweep.test_running import Bench, bench

__all__ = ["bench"]  # a fixture


def test_mlflow_learns_of_it_before_a_store_that_may_hang(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(SweepRecord, "stop", lambda _: steps.append("MLflow"))
    monkeypatch.setattr("flows.sweep.running.write_files", lambda *_: steps.append("page"))

    def start(_: Child) -> "subprocess.Popen[bytes]":
        raise Interrupted(143)

    with pytest.raises(Interrupted):
        run_sweep(bench.open(), start=start)
    assert steps[:2] == ["MLflow", "page"]
