"""A real MLflow server, whole or with one kind of call broken: the other kinds arrive, and the next run heals."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from mlflow.entities import ViewType

from infra.errors import StorageError
from infra.record import ModelFile, StageRecord
from infra.tracking.resolver import registered_file
from infra.tracking.store import make_client
from infra.tracking.tracker import Tracker
from infra.tracking.visit import visit
from tests.infra.tracking.gates import Gate, handler, mlflow_server
from tests.infra.tracking.records import ROWS, SOURCE, STEPS, all_runs, make_run, record, statuses, steps, warnings
from tests.infra.tracking.test_registry import measured


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Gate]:
    """One server for the module, behind a gate."""
    with mlflow_server(folder) as port:
        gate = Gate(port)
        front = ThreadingHTTPServer(("127.0.0.1", 0), handler(gate))
        gate.url = f"http://127.0.0.1:{front.server_address[1]}"
        threading.Thread(target=front.serve_forever, daemon=True).start()
        try:
            yield gate
        finally:
            front.shutdown()
            front.server_close()


@pytest.fixture
def gate(server: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The gate, open again after the test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    server.is_down, server.refuses = False, lambda path, body: False


def whole_record(key: str) -> StageRecord:
    return record(model=ModelFile(name=key, uri="/net", sha256=key.encode().hex().ljust(64, "0")))


def whole_run(gate: Gate, key: str) -> Tracker:
    """Everything that a pipeline does to its tracker."""
    tracker = Tracker(gate.url, "exp", None)
    tracker.connect()
    tracker.start(make_run(key, inputs=[SOURCE], tags={"ddpm.report": "/report"}))
    tracker.begin("train", {"train.images": 640})
    tracker.log_history("train", ROWS[:7])
    tracker.publish("train", whole_record(key))
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {"ddpm.end": "yes"})
    return tracker


def arrived(tracker: Tracker, key: str) -> set[str]:
    """The kinds of which the stage's run and its parent have everything."""
    runs = all_runs(tracker, key)
    child, parent, client = runs["train"], runs["pipeline"], tracker._runs.store.client
    files = [file.path for run in (child, parent) for file in client.list_artifacts(run.info.run_id)]
    models = child.outputs.model_outputs if child.outputs else []
    whole = {
        "params": (child.data.params, parent.data.params) == ({"train.images": "640"}, {"train.lr": "0.1"}),
        "metrics": steps(tracker, child) == steps(tracker, parent) == STEPS and parent.data.metrics["eval/fd"] == 1.25,
        "inputs": all(len(run.inputs.dataset_inputs) == 1 for run in (child, parent)),
        "files": files == ["notes.txt", "report.html"],
        "tags": "ddpm.uri" in child.data.tags and parent.data.tags.get("ddpm.end") == "yes",
        "status": set(statuses(tracker, key).values()) == {"FINISHED"},
        "model": len(models) == 1,
    }
    return {kind for kind, is_whole in whole.items() if is_whole}


KINDS = {
    "params": lambda path, body: bool(body.get("params")) and "log-batch" in path,
    "metrics": lambda path, body: bool(body.get("metrics")),
    "inputs": lambda path, body: "log-inputs" in path,
    "files": lambda path, body: "mlflow-artifacts" in path,
    "tags": lambda path, body: (
        any(tag["key"] in ("ddpm.uri", "ddpm.end") for tag in body.get("tags", ())) and "log-batch" in path
    ),
    "status": lambda path, body: "runs/update" in path,
    "model": lambda path, body: "logged-models" in path and "search" not in path,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_fails_alone_and_heals(gate: Gate, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    gate.refuses = KINDS[kind]
    tracker = whole_run(gate, kind)
    gate.refuses = lambda path, body: False
    assert arrived(tracker, kind) == KINDS.keys() - {kind}
    assert tracker.complaint.startswith(f"MLflow at {gate.url} did not take {kind} (")
    assert "BAD_REQUEST" in tracker.complaint
    assert len(warnings(caplog)) == 1
    assert "ddpm.published" not in all_runs(tracker, kind)["train"].data.tags
    again = whole_run(gate, kind)
    assert again.complaint == ""
    assert arrived(again, kind) == KINDS.keys()
    assert all_runs(again, kind)["train"].data.tags["ddpm.published"] == "d" * 64


def test_an_unusable_place_for_artifacts_costs_the_files_alone(gate: Gate, folder: Path) -> None:
    """No gate refuses here: the server itself cannot write, since a file lies where its folder should be."""
    artifacts = folder / "artifacts"
    if artifacts.exists():
        artifacts.rename(folder / "artifacts-before")
    artifacts.write_bytes(b"")
    tracker = whole_run(gate, "unusable")
    artifacts.unlink()
    assert arrived(tracker, "unusable") == KINDS.keys() - {"files"}
    assert tracker.complaint.startswith(f"MLflow at {gate.url} did not take files (")
    assert not set(KINDS) - {"files"} & set(tracker.complaint.partition("(")[0].split())
    again = whole_run(gate, "unusable")
    assert again.complaint == ""
    assert arrived(again, "unusable") == KINDS.keys()


def test_a_server_that_is_away_is_not_asked_again_and_again(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    gate.is_down = True
    tracker = Tracker(gate.url, "exp", None)
    tracker.connect()
    before = gate.requests
    assert before
    tracker.start(make_run("away", inputs=[SOURCE]))
    tracker.begin("train", {"train.images": 640})
    for number in range(10):
        tracker.log_history("train", ROWS[number : number + 1])
    assert gate.requests == before
    assert "did not answer" in tracker.complaint
    gate.is_down = False
    tracker.publish("train", whole_record("away"))
    assert tracker.complaint == ""
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {"ddpm.end": "yes"})
    assert arrived(tracker, "away") == KINDS.keys()
    assert len(warnings(caplog)) == 1


def test_a_server_that_goes_and_comes_back_gets_the_rows_in_between(gate: Gate) -> None:
    tracker = Tracker(gate.url, "exp", None, pause_s=0.1)
    tracker.start(make_run("back"))
    tracker.begin("train", {})
    tracker.log_history("train", ROWS[:3])
    gate.is_down = True
    before = gate.requests
    tracker.log_history("train", ROWS[3:6])
    assert gate.requests == before + 1, "the first kind that fails tells that the server is away"
    assert "metrics" in tracker.complaint
    gate.is_down = False
    time.sleep(0.3)
    tracker.log_history("train", ROWS[6:7])
    assert tracker.complaint == ""
    runs = all_runs(tracker, "back")
    assert steps(tracker, runs["train"]) == steps(tracker, runs["pipeline"]) == STEPS[:7]


def test_a_stage_that_missed_its_server_is_delivered_at_the_end(gate: Gate) -> None:
    tracker = Tracker(gate.url, "exp", None)
    tracker.start(make_run("end", inputs=[SOURCE]))
    tracker.begin("train", {"train.images": 640})
    gate.is_down = True
    before = gate.requests
    tracker.publish("train", whole_record("end"))
    assert gate.requests == before + 1, "one question tells that the server is away"
    gate.is_down = False
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {"ddpm.end": "yes"})
    assert tracker.complaint == ""
    assert arrived(tracker, "end") == KINDS.keys()
    assert all_runs(tracker, "end")["train"].data.tags["ddpm.published"] == "d" * 64


def test_pages_of_a_server(gate: Gate, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(gate.url.replace("//", "//user:s3cret@"), "exp", None)
    tracker.start(make_run("pages"))
    experiment = tracker._runs.store.experiment_id
    assert tracker.runs_page == f"{gate.url}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert tracker.page == f"{gate.url}/#/experiments/{experiment}/runs/{tracker.run_id}"
    assert tracker.server_command == ""
    tracker.begin("train", {})
    tracker.end("train", "KILLED")
    tracker.close({}, {}, {})
    assert tracker.complaint == ""
    printed = capfd.readouterr()
    assert printed.out == "", "MLflow prints links that hold the password"
    assert "s3cret" not in printed.err


def registering_run(uri: str, key: str, value: float) -> Tracker:
    """A run that measures a network and registers it as `net`."""
    tracker = Tracker(uri, "exp", None)
    tracker.connect()
    tracker.start(make_run(key))
    tracker.begin("evaluate", {})
    model = measured(len(key), value)
    tracker.publish("evaluate", record(measured=model, metrics={"eval/fd": value}, history=[]))
    tracker.register("net", "", model)
    tracker.close({"eval/fd": value}, {}, {})
    return tracker


def test_registration_fails_alone_heals_and_keeps_the_password(gate: Gate) -> None:
    uri = gate.url.replace("//", "//user:s3cret@")
    gate.refuses = lambda path, body: "model-versions/create" in path
    tracker = registering_run(uri, "first", 5.0)
    gate.refuses = lambda path, body: False
    assert tracker.complaint.startswith(f"MLflow at {gate.url} did not take registration (")
    assert tracker.take_decision() == ""
    assert set(statuses(tracker, "first").values()) == {"FINISHED"}
    again = registering_run(uri, "first", 5.0)
    assert (again.complaint, again.take_decision()) == ("", "champion of net: version 1, the first")
    assert again.take_decision() == "", "each is said once"
    better = registering_run(uri, "second", 1.0)
    assert better.take_decision() == "champion of net: version 2 (was 1): fd 1 ± 0.1 below 5 ± 0.1"
    client = better._runs.store.client
    version = client.get_model_version_by_alias("net", "champion")
    model = client.get_logged_model(version.tags["ddpm.model_id"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "net", "version": 2}]
    assert [(metric.key, metric.value) for metric in model.metrics] == [("eval/fd", 1.0)]
    assert version.source == model.artifact_location
    parent = all_runs(better, "second")["pipeline"]
    everything = [version, version.tags, model.tags, model.params, parent.data.tags, client.get_registered_model("net")]
    assert "s3cret" not in str(everything)
    found = registered_file("models:/net@champion", uri)
    assert (found.version, found.uri) == ("models:/net/2", "/snapshots/6.safetensors")
    gate.is_down = True
    with pytest.raises(StorageError, match="did not answer"):
        registered_file("models:/net@champion", uri)


def test_a_visit_tells_the_version_and_leaves_nothing(gate: Gate) -> None:
    client = make_client(gate.url)
    before = {one.name for one in client.search_experiments(view_type=ViewType.ALL)}
    assert visit(gate.url, "MLFLOW_TRACKING_URI") == metadata.version("mlflow")
    assert {one.name for one in client.search_experiments(view_type=ViewType.ALL)} == before
    gate.refuses = lambda path, body: "experiments/create" in path
    with pytest.raises(StorageError, match=r"does not take a new experiment .*refused by the gate"):
        visit(gate.url, "MLFLOW_TRACKING_URI")
