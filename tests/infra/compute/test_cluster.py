"""The connection: nothing is started without work, handlers and environment are put back."""

import os
import signal
import sys
from pathlib import Path

import pytest
import ray

from infra.compute.cluster import Cluster
from infra.compute.reaper import VARIABLE
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
    ray_cluster.run_units(_Nothing(), [0], workers=Workers(), stage="prepare", on_done=done.append)
    assert done == [0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_token_is_for_this_user_alone(ray_cluster: Cluster) -> None:
    ray_cluster.run_units(_Nothing(), [0], workers=Workers(), stage="prepare", on_done=lambda _: None)
    assert os.environ["RAY_AUTH_MODE"] == "token", "anyone on the network could run code"
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600
    assert not (Path.home() / ".ray" / "auth_token").exists()


def test_a_connection_that_is_there_is_used_and_left_open(ray_cluster: Cluster) -> None:
    ray_cluster.connect()
    job = ray.get_runtime_context().get_job_id()
    done: list[int] = []
    with Cluster(mode="ray") as cluster:
        cluster.run_units(_Nothing(), [0], workers=Workers(), stage="prepare", on_done=done.append)
        assert ray.get_runtime_context().get_job_id() == job
    assert done == [0]
    assert ray.is_initialized()


def test_no_connection_where_the_mode_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    Cluster(mode="in-process", address="127.0.0.1:1").connect()


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper reads /proc")
@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_what_a_local_ray_starts_is_marked_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    marks: list[str | None] = []

    def init(**_: object) -> None:
        marks.append(os.environ.get(VARIABLE))
        raise ConnectionError("no answer")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with Cluster(address=address) as cluster:
        for _ in range(2):
            with pytest.raises(ResourceError):
                cluster.connect()
            assert VARIABLE not in os.environ
    assert marks[0] == marks[1], "a second reaper was started"
    assert (marks[0] is None) == (address is not None), "a cluster that others started is not ours to clean up"


class _Nothing:
    def open(self) -> object:
        return lambda unit: None
