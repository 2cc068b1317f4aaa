"""MLflow's server before the database of a root: runs made with and without it go on with each other's."""

from pathlib import Path

import pytest

from infra.server_process import ServerProcess
from infra.services.mlflow.server import answers, mlflow_program, server_url
from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import all_runs, make_run
from tests.servers import free_ports


def test_its_program_is_bound_to_this_machine(tmp_path: Path) -> None:
    program = mlflow_program("sqlite:///x.db", tmp_path / "files", 5123, {"MARK": "1"})
    line = " ".join(program.command)
    assert "--host 127.0.0.1 --port 5123 " in line
    assert f"--default-artifact-root file://{tmp_path}/files" in line
    assert program.environment["MARK"] == "1"
    assert not answers(server_url(free_ports(1)[0]))


@pytest.mark.slow
def test_artifacts_stay_where_a_run_without_a_server_puts_them(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    database, files = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts"
    server = ServerProcess(mlflow_program(database, files, port, {}), tmp_path / "log", pytest.fail)
    try:
        server.start()
        server.await_answer()
        _track(Tracker(server_url(port), "exp", None), "served")
    finally:
        server.stop()
    tracker = Tracker(database, "exp", files)
    _track(tracker, "alone")
    for key in ("served", "alone"):
        run = all_runs(tracker, key)["pipeline"]
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith(files.as_uri())
        found = tracker._runs.store.client.list_artifacts(run.info.run_id)
        assert [file.path for file in found] == ["report.html"]


def _track(tracker: Tracker, key: str) -> None:
    tracker.connect()
    tracker.start(make_run(key))
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {})
    assert tracker.complaint == ""
