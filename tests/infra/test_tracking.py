"""MLflow hears everything once, and whatever is wrong with it costs one warning and never the work."""

import json
import logging
import socket
import time
from pathlib import Path

import pytest

from infra.tracking import DatasetInput, StageRecord, Tracker

ROWS = [
    {"images_seen": 64 * n, "time_ms": 1_700_000_000_000 + n, "loss": 1 / n, "grad_norm": None} for n in range(1, 21)
]


def make_tracker(folder: Path, key: str = "k" * 20) -> Tracker:
    return Tracker(f"sqlite:///{folder / 'mlflow.db'}", "exp", folder / "artifacts", key)


def record(**more: object) -> StageRecord:
    fields = {
        "key": "stage-key",
        "digest": "d" * 64,
        "metrics": {"eval/fd": 1.25},
        "history": ROWS,
        "files": {"notes.txt": b"hello"},
        "inputs": [DatasetInput(name="digits", uri='/a "b"/\\c', digest="e" * 64, context="training")],
        "tags": {"ddpm.uri": "/somewhere"},
    }
    return StageRecord(**fields | more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module: making it takes seconds; each test has a pipeline key of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def tracker(folder: Path, request: pytest.FixtureRequest) -> Tracker:
    made = make_tracker(folder, request.node.name)
    made.open("my-run")
    assert made.complaint == ""
    return made


def all_runs(tracker: Tracker) -> dict[str, object]:
    """This pipeline's runs by stage; fails where one is there twice."""
    client = tracker._client
    query = f"tags.`ddpm.pipeline_key` = '{tracker._pipeline}'"
    found = client.search_runs([client.get_experiment_by_name("exp").experiment_id], query)
    stages = [run.data.tags["ddpm.stage"] for run in found]
    assert len(set(stages)) == len(stages), f"a run twice: {stages}"
    return dict(zip(stages, found, strict=True))


def test_a_stage_says_all_there_is(tracker: Tracker) -> None:
    tracker.begin("train", {"train.images": 640, "train.dropout": 0.0})
    tracker.publish("train", record())
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"})
    assert tracker.complaint == ""
    runs, client = all_runs(tracker), tracker._client
    assert runs.keys() == {"pipeline", "train"}
    run, parent = runs["train"], runs["pipeline"]
    assert run.info.status == parent.info.status == "FINISHED"
    assert parent.info.run_name == "my-run"
    assert run.data.params == {"train.images": "640", "train.dropout": "0.0"}
    assert run.data.metrics["eval/fd"] == 1.25
    assert run.data.tags["ddpm.stage_key"] == "stage-key"
    assert run.data.tags["ddpm.uri"] == "/somewhere"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (row["images_seen"], row["loss"], row["time_ms"]) for row in ROWS
    ]
    assert "train/grad_norm" not in run.data.metrics, "what is not finite is left out"
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["notes.txt"]
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["report.html"]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "e" * 36)
    assert json.loads(data.dataset.source) == {"uri": '/a "b"/\\c'}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    local = client.download_artifacts(run.info.run_id, "notes.txt")
    assert Path(local).read_bytes() == b"hello"


def test_said_twice_it_is_there_once(tracker: Tracker, folder: Path, request: pytest.FixtureRequest) -> None:
    for _ in range(2):
        again = make_tracker(folder, request.node.name)
        again.open("my-run")
        again.begin("train", {"train.images": 640})
        again.log_history("train", ROWS[:7])
        again.log_history("train", ROWS[5:12])
        again.publish("train", record())
        again.publish("train", record())
        again.close({"eval/fd": 1.25}, {"report.html": b"<html>"})
        assert again.complaint == ""
    runs, client = all_runs(tracker), tracker._client
    assert runs.keys() == {"pipeline", "train"}
    run = runs["train"].info.run_id
    assert [m.step for m in client.get_metric_history(run, "train/loss")] == [row["images_seen"] for row in ROWS]
    assert len(client.get_metric_history(run, "eval/fd")) == 1
    assert len(client.get_metric_history(runs["pipeline"].info.run_id, "eval/fd")) == 1
    assert len(runs["train"].inputs.dataset_inputs) == 1
    assert runs["train"].info.status == "FINISHED"


def test_what_was_not_delivered_is_delivered_by_the_next_run(
    tracker: Tracker, folder: Path, request: pytest.FixtureRequest
) -> None:
    """The stage was cut down after some rows; the same pipeline goes on in the same run."""
    tracker.begin("train", {})
    tracker.log_history("train", ROWS[:3])
    tracker.fail("train")
    failed = all_runs(tracker)
    assert {run.info.status for run in failed.values()} == {"FAILED"}
    again = make_tracker(folder, request.node.name)
    again.open("my-run")
    again.begin("train", {})
    assert {run.info.status for run in all_runs(again).values()} == {"RUNNING"}
    again.publish("train", record())
    again.close({}, {})
    runs = all_runs(again)
    assert {stage: run.info.run_id for stage, run in runs.items()} == {
        stage: run.info.run_id for stage, run in failed.items()
    }
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(again._client.get_metric_history(runs["train"].info.run_id, "train/loss")) == len(ROWS)


def test_another_pipeline_has_runs_of_its_own(tracker: Tracker, folder: Path) -> None:
    tracker.begin("train", {"a": 1})
    other = make_tracker(folder, "another-key")
    other.open("my-run")
    other.begin("train", {"a": 2})
    assert other.complaint == ""
    one, two = all_runs(tracker)["train"], all_runs(other)["train"]
    assert one.info.run_id != two.info.run_id
    assert (one.data.params, two.data.params) == ({"a": "1"}, {"a": "2"})


def test_without_a_parent(folder: Path) -> None:
    tracker = make_tracker(folder, "no-parent")
    tracker.open("")
    tracker.begin("prepare", {})
    tracker.publish("prepare", record())
    tracker.close({"x": 1.0}, {})
    assert tracker.complaint == ""
    runs = all_runs(tracker)
    assert runs.keys() == {"prepare"}
    assert "mlflow.parentRunId" not in runs["prepare"].data.tags


def test_long_values_and_many_of_them(tracker: Tracker) -> None:
    params = {f"p{number}": "x" * 10_000 for number in range(120)}
    tracker.begin("train", params)
    rows = [{"images_seen": n, "time_ms": n, "loss": float(n)} for n in range(1, 1502)]
    tracker.publish("train", record(history=rows, tags={"long": "y" * 10_000}))
    assert tracker.complaint == ""
    run = all_runs(tracker)["train"]
    assert len(run.data.params) == 120
    assert set(run.data.params.values()) == {"x" * 6000}
    assert len(tracker._client.get_metric_history(run.info.run_id, "train/loss")) == 1501


def say_everything(tracker: Tracker) -> None:
    tracker.open("run")
    tracker.begin("train", {"a": 1})
    tracker.log_history("train", ROWS)
    tracker.publish("train", record())
    tracker.fail("train")
    tracker.close({"x": 1.0}, {"a": b""})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_where_nothing_listens_it_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    tracker = Tracker(f"http://user:s3cret@127.0.0.1:{port}/", "exp", None, "k")
    started = time.monotonic()
    say_everything(tracker)
    # Two retries with a pause of seconds; MLflow's own default is about four minutes a call.
    assert time.monotonic() - started < 30
    warnings = [entry for entry in caplog.records if entry.name == "infra.tracking"]
    assert [entry.levelno for entry in warnings] == [logging.WARNING]
    said = warnings[0].getMessage()
    assert f"MLflow at http://127.0.0.1:{port}" in said
    assert "the work goes on" in said
    assert tracker.complaint
    assert "s3cret" not in caplog.text + tracker.complaint + tracker.uri


def test_a_broken_database_costs_one_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database " * 100)
    say_everything(make_tracker(tmp_path))
    assert len([entry for entry in caplog.records if entry.name == "infra.tracking"]) == 1


def test_a_failure_on_the_way_ends_the_telling_and_not_the_work(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("connection lost\nwith a second line")

    tracker.begin("train", {})
    monkeypatch.setattr(tracker._client, "log_batch", gone)
    tracker.log_history("train", ROWS)
    tracker.log_history("train", ROWS)
    tracker.publish("train", record())
    assert "connection lost" in tracker.complaint
    assert "\n" not in tracker.complaint
    assert len([entry for entry in caplog.records if entry.name == "infra.tracking"]) == 1


def test_off_it_says_and_loads_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker("", "exp", None, "k")
    say_everything(tracker)
    assert tracker.complaint == "tracking is off"
    assert tracker._client is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:pw@host:5000/path", "http://host:5000/path"),
        ("http://user:p@w@host", "http://host"),
        ("http://host", "http://host"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("./mlruns", "./mlruns"),
        ("databricks", "databricks"),
    ],
)
def test_the_address_is_shown_without_a_password(uri: str, shown: str) -> None:
    assert Tracker(uri, "exp", None, "k").uri == shown
