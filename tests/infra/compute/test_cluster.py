"""The cluster: nothing is started without work, and handlers are put back."""

import signal
from pathlib import Path

import pytest
import ray

from infra.compute.cluster import Cluster
from infra.compute.units import Workers
from infra.errors import ResourceError


def test_no_work_no_ray() -> None:
    with Cluster(mode="ray", address="127.0.0.1:1") as cluster:
        cluster.run_units(_Never(), [], workers=Workers(), stage="prepare", on_done=lambda _: None)


class _Never:
    def open(self) -> object:
        raise AssertionError("opened without units")


def test_one_process_has_one_worker(tmp_path: Path) -> None:
    with Cluster(mode="in-process") as cluster, pytest.raises(ResourceError, match="or use Ray"):
        cluster.run_group(
            print, {}, workers=Workers(count=2), stage="train", run_folder=str(tmp_path), on_poll=lambda: 0
        )


def test_handlers_and_environment_are_put_back(ray_cluster: Cluster) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    done: list[int] = []
    ray_cluster.run_units(Nothing(), [0], workers=Workers(), stage="prepare", on_done=done.append)
    assert done == [0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_no_connection_where_the_mode_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    Cluster(mode="in-process", address="127.0.0.1:1").connect()


class Nothing:
    def open(self) -> object:
        return lambda unit: None
