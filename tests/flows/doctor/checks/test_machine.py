"""This machine: cores, limits, folders, network and ports; each wrong state is made here."""

import os
import resource
import socket
from pathlib import Path

import pytest

from flows.doctor.check import Subject
from flows.doctor.checks import folders, limits, machine, network, ports, temporary
from flows.doctor.finding import Finding, Level
from infra.compute.system import Space
from infra.errors import ConfigError, ResourceError
from tests.servers import free_ports

SUBJECT = Subject(root="here")


def only(found: object) -> Finding:
    (one,) = found
    return one


def test_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "core" in only(machine.check(SUBJECT)).cause
    monkeypatch.setattr(machine, "available_memory", lambda: 1 << 30)
    low = only(machine.check(SUBJECT))
    assert low.level is Level.WARNING
    assert "only 1.0 GiB of memory are free" in low.cause


def test_a_low_limit_of_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        low = only(limits.check(SUBJECT))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert low.level is Level.WARNING
    assert str(low).startswith("ulimit -n: a process may open 512 files only - ")


def test_rays_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    first = next(iter(temporary.check(SUBJECT)))
    assert first.item == "/tmp"
    assert first.level is Level.OK
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr(temporary, "_LONGEST_SOCKET", 1000)
    with pytest.raises(ConfigError, match=r"missing: cannot be written .* - set TMPDIR"):
        list(temporary.check(SUBJECT))


def test_a_path_that_is_too_long_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'long' * 12}")
    with pytest.raises(ConfigError, match="too long for Ray's sockets - set RAY_TMPDIR to a shorter path"):
        list(temporary.check(SUBJECT))


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(temporary, "space", lambda _: Space(total=1000, free=40))
    with pytest.raises(ResourceError, match="96 % full, and Ray takes nothing above 95 %"):
        list(temporary.check(SUBJECT))


def test_little_shared_memory() -> None:
    found = temporary._shared(Space(total=64 << 20, free=64 << 20))
    assert found.level is Level.WARNING
    assert "64 MiB of 64 MiB free" in found.cause


def test_our_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/self")
    cache, state = folders.check(SUBJECT)
    assert (cache.level, state.level) == (Level.OK, Level.WARNING)
    assert state.remedy == "set XDG_STATE_HOME to a folder of yours"
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert only(network.check(SUBJECT)).level is Level.OK
    monkeypatch.setenv("http_proxy", "http://me:canary@proxy:3128")
    found = only(network.check(SUBJECT))
    assert found.level is Level.WARNING
    assert str(found).startswith(
        "http_proxy: requests to this machine's own servers go through a proxy - export no_proxy"
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert only(network.check(SUBJECT)).level is Level.OK


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(2)
    mlflow = (free, "MLflow", "--mlflow-port", "MLFLOW_TRACKING_URI")
    monkeypatch.setattr(ports, "PORTS", ((taken, "Prefect", "--port", "PREFECT_API_URL"), mlflow))
    assert only(ports.check(SUBJECT)).cause == f"{taken}, {free} are free"
    with socket.create_server(("127.0.0.1", taken)):
        found = only(ports.check(SUBJECT))
    assert (found.level, found.item) == (Level.WARNING, f"port {taken}")
    assert found.remedy.endswith("ddpm up --port")


def test_a_port_of_a_server_that_a_variable_names_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = free_ports(1)
    monkeypatch.setattr(ports, "PORTS", ((taken, "Prefect", "--port", "PREFECT_API_URL"),))
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{taken}/api")
    with socket.create_server(("127.0.0.1", taken)):
        assert only(ports.check(SUBJECT)).cause == "your variables name every server, so none is started"
