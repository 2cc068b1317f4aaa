"""The servers of `ddpm up` beside each other: ports that are taken, and servers that variables name."""

import socket
from pathlib import Path

import pytest

from flows import servers
from flows.servers import Ports, servers_up
from infra.errors import ResourceError
from infra.services.standing import claim, find
from tests.servers import free_ports


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_port_that_is_taken_is_named_with_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    (taken,) = free_ports(1)
    ports, said, root = Ports(prefect=1, mlflow=taken, ray=1, dashboard=1), [], str(tmp_path / "root")
    with (
        socket.create_server(("127.0.0.1", taken)),
        claim(root) as claimed,
        pytest.raises(ResourceError, match=f"port {taken}: is taken by another program - .* with --mlflow-port"),
        servers_up(root, claimed, ports, said.append),
    ):
        pytest.fail("up")
    assert find(root) is None
    with claim(root) as claimed:
        assert claimed.standing is None, "nothing is left to end"


def test_without_the_dashboards_packages_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "dashboard_lacks", lambda: ["aiohttp_cors"])
    (taken,) = free_ports(1)
    said: list[str] = []
    with (
        socket.create_server(("127.0.0.1", taken)),
        claim(str(tmp_path)) as claimed,
        pytest.raises(ResourceError, match="--ray-port"),
        servers_up(str(tmp_path), claimed, Ports(prefect=1, mlflow=1, ray=taken, dashboard=1), said.append),
    ):
        pytest.fail("up")
    assert said == ['Ray starts without its dashboard: no aiohttp_cors; pip install "ray[default]" brings it']
