"""The connection: environment and token of a local Ray, and a connection that is there already."""

import os
import sys
from pathlib import Path

import pytest
import ray

from infra.compute.cluster import Cluster
from infra.compute.connection import Connection
from infra.compute.reaper import VARIABLE
from infra.compute.units import Workers
from infra.errors import ResourceError
from tests.infra.compute.test_cluster import Nothing


def test_the_token_is_for_this_user_alone(ray_cluster: Cluster) -> None:
    ray_cluster.run_units(Nothing(), [0], workers=Workers(), stage="prepare", on_done=lambda _: None)
    assert os.environ["RAY_AUTH_MODE"] == "token", "anyone on the network could run code"
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600
    assert not (Path.home() / ".ray" / "auth_token").exists()


def test_a_connection_that_is_there_is_used_and_left_open(ray_cluster: Cluster) -> None:
    ray_cluster.connect()
    job = ray.get_runtime_context().get_job_id()
    done: list[int] = []
    with Cluster(mode="ray") as cluster:
        cluster.run_units(Nothing(), [0], workers=Workers(), stage="prepare", on_done=done.append)
        assert ray.get_runtime_context().get_job_id() == job
    assert done == [0]
    assert ray.is_initialized()


def test_the_dashboard_is_that_of_the_cluster(ray_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cluster(mode="ray") as cluster:
        assert Cluster(mode="in-process").dashboard == ""
        ray_cluster.connect()
        assert cluster.dashboard == "", "a local Ray has none"
        node = ray._private.worker._global_node
        monkeypatch.setattr(type(node), "webui_url", "10.0.0.1:8265", raising=True)
        assert cluster.dashboard == "http://10.0.0.1:8265"
        monkeypatch.setenv("RAY_OVERRIDE_DASHBOARD_URL", "https://ray.example/dashboard")
        assert cluster.dashboard == "https://ray.example/dashboard"
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        assert cluster.dashboard == ""


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


def test_a_cluster_that_does_not_answer_is_named_and_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(**options: object) -> None:
        assert options["address"] == "127.0.0.1:1"
        raise ConnectionError("no answer")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    before = dict(os.environ)
    connection = Connection("127.0.0.1:1", cpus=1)
    with pytest.raises(ResourceError, match=r"127\.0\.0\.1:1: Ray did not answer \(no answer\) - check RAY_ADDRESS"):
        connection.open()
    assert connection.reaper is None, "a cluster that others started is not ours to clean up"
    connection.close()
    assert dict(os.environ) == before
