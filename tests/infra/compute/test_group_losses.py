"""Groups that lose workers: a dead or hanging one is replaced, and losses are counted."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from infra.compute.cluster import Cluster
from infra.compute.group import _placement_groups
from infra.compute.heartbeat import Beat
from infra.compute.units import ATTEMPTS_PER_UNIT
from infra.errors import ResourceError
from tests.flows.stages.train.test_batches import await_true
from tests.infra.compute.test_group import run


def die_once(config: dict[str, Any], _: Beat) -> None:
    first = not list(Path(config["folder"]).iterdir())
    Path(config["folder"], str(os.getpid())).touch()
    if first:
        os.kill(os.getpid(), signal.SIGKILL)


def hang_once(config: dict[str, Any], _: Beat) -> None:
    first = not list(Path(config["folder"]).iterdir())
    Path(config["folder"], str(os.getpid())).touch()
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)


def die_four_times(config: dict[str, Any], _: Beat) -> None:
    begun = len(list(Path(config["folder"]).iterdir()))
    Path(config["folder"], str(os.getpid())).touch()
    if begun < 4:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_lost_worker_is_replaced(ray_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    run(ray_cluster, die_once, tmp_path / "seen", tmp_path / "runs")
    assert len(list((tmp_path / "seen").iterdir())) == 2


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(ray_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a minute of silence, here five seconds; the stopped process is ended too."""
    monkeypatch.setenv("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "5")
    (tmp_path / "seen").mkdir()
    began = time.monotonic()
    run(ray_cluster, hang_once, tmp_path / "seen", tmp_path / "runs")
    assert time.monotonic() - began < 240
    pids = [int(path.name) for path in (tmp_path / "seen").iterdir()]
    assert len(pids) == 2
    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.slow
def test_only_losses_without_anything_committed_between_them_count(ray_cluster: Cluster, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    with pytest.raises(ResourceError, match="train: lost its workers"):
        run(ray_cluster, die_four_times, seen, tmp_path / "runs")
    assert len(list(seen.iterdir())) == ATTEMPTS_PER_UNIT == 3
    for path in seen.iterdir():
        path.unlink()
    run(ray_cluster, die_four_times, seen, tmp_path / "runs", lambda: len(list(seen.iterdir())))
    assert len(list(seen.iterdir())) == 5
    assert not _placement_groups(), "what a lost group held is free again"
