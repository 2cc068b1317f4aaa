"""The servers that variables name: none, one that is away, and a key that no line shows."""

import json
from pathlib import Path

import pytest

from flows.doctor.check import Check, Subject
from flows.doctor.checks import jobs, mlflow_server, prefect_server
from flows.doctor.child import findings
from flows.doctor.finding import Finding, Level
from tests.infra.compute.jobs_server import jobs_server
from tests.servers import free_ports


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def only(run: object, root: str = ".") -> Finding:
    (one,) = findings(Check(name="made-up", about="?", run=run), Subject(root=root))
    return one


def test_no_server_is_named(tmp_path: Path) -> None:
    assert only(prefect_server.check).cause == "no server is named: runs start one of their own"
    assert only(mlflow_server.check, str(tmp_path / "runs")).cause.startswith(
        "no server is named: the first run makes "
    )
    assert list(tmp_path.iterdir()) == []


def test_servers_that_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:canary-pw@127.0.0.1:{port}")
    for run in (prefect_server.check, mlflow_server.check):
        one = only(run)
        assert one.exit_code == 4
        assert f"127.0.0.1:{port}" in one.item
        assert "canary" not in json.dumps(one.as_json())


def test_the_jobs_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert only(jobs.check).cause == "no jobs server is named: a run with --execution job needs one"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "head:8265")
    assert (only(jobs.check).exit_code, only(jobs.check).item) == (2, "ray_jobs")
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{port}")
    assert only(jobs.check).exit_code == 7
    with jobs_server() as server:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url)
        assert "answers and takes our calls" in only(jobs.check).cause
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url.replace("//", "//user:canary@"))
        assert only(jobs.check).item == f"RAY_API_SERVER_ADDRESS {server.url}"
        server.fate = lambda _, path: 503 if path == "/api/jobs/" else None
        assert only(jobs.check).exit_code == 7
        server.version = "2.1.0"
        server.fate = lambda *_: None
        assert (only(jobs.check).exit_code, "Ray 2.1.0" in only(jobs.check).cause) == (2, True)
        server.token = "canary"
        assert (only(jobs.check).exit_code, "token" in only(jobs.check).cause) == (2, True)


@pytest.mark.parametrize(("theirs", "level"), [("3.8.1", Level.OK), ("3.4.0", Level.WARNING), ("odd", Level.WARNING)])
def test_another_version_of_prefect(theirs: str, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://somewhere/api")
    monkeypatch.setattr("infra.services.prefect.visit.visit", lambda _: theirs)
    monkeypatch.setattr(prefect_server, "version_of", lambda _: "3.8.8")
    assert only(prefect_server.check).level is level


@pytest.mark.parametrize(("theirs", "level"), [("3.18.0", Level.OK), ("3.4.0", Level.WARNING), ("", Level.OK)])
def test_another_version_of_mlflow(theirs: str, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    monkeypatch.setattr("infra.tracking.visit.visit", lambda *_: theirs)
    monkeypatch.setattr(mlflow_server, "version_of", lambda _: "3.17.2")
    assert only(mlflow_server.check).level is level
