"""MLflow gets every record once, and whatever is wrong with it costs a warning and never the work."""

import json
import logging
import time
from pathlib import Path

import pytest

from infra.record import ModelFile
from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import (
    ROWS,
    SOURCE,
    STEPS,
    all_runs,
    client_of,
    make_run,
    make_tracker,
    record,
    steps,
    warnings,
)
from tests.servers import free_ports


def test_a_stage_records_all_there_is(tracker: Tracker, key: str) -> None:
    tracker.begin("train", {"train.images": 640, "train.dropout": 0.0})
    tracker.publish("train", record())
    tracker.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {"ddpm.end": "yes"})
    assert tracker.complaint == ""
    runs, client = all_runs(tracker, key), client_of(tracker)
    assert runs.keys() == {"pipeline", "train"}
    run, parent = runs["train"], runs["pipeline"]
    assert run.info.status == parent.info.status == "FINISHED"
    assert run.data.params == {"train.images": "640", "train.dropout": "0.0"}
    assert run.data.metrics["train/fd"] == 1.25
    assert run.data.tags["ddpm.stage_key"] == "stage-key"
    assert run.data.tags["ddpm.uri"] == "/somewhere"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id == tracker.run_id
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (row["images_seen"], row["loss"], row["time_ms"]) for row in ROWS
    ]
    assert "train/grad_norm" not in run.data.metrics, "what is not finite is left out"
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["notes.txt"]
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["report.html"]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest, data.dataset.source_type) == ("digits", "e" * 36, "local")
    assert json.loads(data.dataset.source) == {"uri": '/a "b"/\\c'}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    local = client.download_artifacts(run.info.run_id, "notes.txt")
    assert Path(local).read_bytes() == b"hello"


def test_the_parent_compares_settings_figures_curves_and_data(tracker: Tracker, key: str) -> None:
    """MLflow's comparison joins by run: what is to be drawn against each other must be in one run."""
    tracker.begin("train", {})
    tracker.log_history("train", ROWS[:5])
    tracker.publish("train", record())
    tracker.close({"eval/fd": 1.25}, {}, {"prefect.flow_run_id": "abc"})
    parent = all_runs(tracker, key)["pipeline"]
    assert parent.data.params == {"train.lr": "0.1"}
    assert parent.data.metrics["eval/fd"] == 1.25
    assert steps(tracker, parent) == STEPS
    (data,) = parent.inputs.dataset_inputs
    assert (data.dataset.digest, data.dataset.source_type) == ("f" * 36, "s3")
    assert parent.data.tags["ddpm.report"] == "/report"
    assert parent.data.tags["prefect.flow_run_id"] == "abc"


def test_repeated_it_is_there_once(tracker: Tracker, folder: Path, key: str) -> None:
    for _ in range(2):
        again = make_tracker(folder)
        again.connect()
        again.start(make_run(key, inputs=[SOURCE]))
        again.begin("train", {"train.images": 640})
        again.log_history("train", ROWS[:7])
        again.log_history("train", ROWS[5:12])
        again.publish("train", record())
        again.publish("train", record())
        again.close({"eval/fd": 1.25}, {"report.html": b"<html>"}, {})
        assert again.complaint == ""
    runs, client = all_runs(tracker, key), client_of(tracker)
    assert runs.keys() == {"pipeline", "train"}
    for run in runs.values():
        assert steps(tracker, run) == STEPS
        assert len(run.inputs.dataset_inputs) == 1
        assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(runs["train"].info.run_id, "train/fd")) == 1
    assert len(client.get_metric_history(runs["pipeline"].info.run_id, "eval/fd")) == 1


def test_a_snapshot_is_a_model_once(tracker: Tracker, folder: Path, key: str) -> None:
    model = ModelFile(name="digits train.lr=0.1", uri="s3://bucket/snapshot", sha256="7" * 64)
    again = make_tracker(folder)
    again.start(make_run(key))
    for one, digest in ((tracker, "1" * 64), (again, "2" * 64)):
        one.begin("train", {})
        one.publish("train", record(model=model, digest=digest))
        assert one.complaint == ""
    client, run = client_of(tracker), all_runs(tracker, key)["train"]
    (found,) = client.search_logged_models([run.info.experiment_id], f"tags.`ddpm.sha256` = '{model.sha256}'")
    assert (found.name, found.model_type, str(found.status)) == ("digits train-lr=0-1", "ddpm", "READY")
    assert found.source_run_id == run.info.run_id
    assert found.tags["ddpm.uri"] == "s3://bucket/snapshot"
    assert [output.model_id for output in run.outputs.model_outputs] == [found.model_id]


def test_params_are_added_and_never_changed(tracker: Tracker, folder: Path, key: str) -> None:
    again = make_tracker(folder)
    again.start(make_run(key, params={"train.lr": 0.5, "train.new": 1}))
    assert again.complaint == ""
    assert all_runs(tracker, key)["pipeline"].data.params == {"train.lr": "0.1", "train.new": "1"}


def test_long_values_and_many_of_them(tracker: Tracker, key: str) -> None:
    params = {f"p{number}": "x" * 10_000 for number in range(120)}
    tracker.begin("train", params)
    rows = [{"images_seen": n, "time_ms": n, "loss": float(n)} for n in range(1, 1502)]
    tracker.publish("train", record(history=rows, tags={"long": "y" * 10_000}))
    assert tracker.complaint == ""
    run = all_runs(tracker, key)["train"]
    assert len(run.data.params) == 120
    assert set(run.data.params.values()) == {"x" * 6000}
    assert run.data.tags["long"] == "y" * 6000
    assert len(steps(tracker, run)) == 1501


def test_pages(tracker: Tracker, folder: Path) -> None:
    experiment = client_of(tracker).get_experiment_by_name("exp").experiment_id
    assert tracker.runs_page == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert tracker.page == ""
    assert tracker.server_command == f"mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}"
    assert make_tracker(folder).runs_page == "", "no experiment, no page"


def record_everything(tracker: Tracker) -> None:
    tracker.connect()
    tracker.start(make_run("k"))
    tracker.begin("train", {"a": 1})
    tracker.log_history("train", ROWS)
    tracker.publish("train", record())
    tracker.end("train", "FAILED")
    tracker.close({"x": 1.0}, {"a": b""}, {})


def test_if_nothing_listens_it_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    tracker = Tracker(f"http://user:s3cret@127.0.0.1:{port}/", "exp", None)
    started = time.monotonic()
    record_everything(tracker)
    # Two retries with a pause of seconds; MLflow's own default is about four minutes a call.
    assert time.monotonic() - started < 30
    (warning,) = warnings(caplog)
    assert warning.levelno == logging.WARNING
    assert f"MLflow at http://127.0.0.1:{port}" in warning.getMessage()
    assert "the work goes on" in warning.getMessage()
    assert "did not answer" in tracker.complaint
    assert "s3cret" not in caplog.text + tracker.complaint + tracker.uri
    assert (tracker.run_id, tracker.page, tracker.runs_page) == ("", "", "")


def test_a_broken_database_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database " * 100)
    record_everything(make_tracker(tmp_path))
    assert len(warnings(caplog)) == 1


def test_off_it_records_and_loads_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker("", "exp", None)
    record_everything(tracker)
    assert tracker.complaint == "tracking is off"
    assert tracker._runs.store is None
    assert (tracker.run_id, tracker.page, tracker.runs_page, tracker.server_command) == ("", "", "", "")
    assert not caplog.records


def test_how_busy_the_machine_was_is_a_system_metric_once(tracker: Tracker, key: str, folder: Path) -> None:
    started = all_runs(tracker, key)["pipeline"].info.start_time
    rows = [{"time_ms": started + 1500 * n, "cpu_utilization_percentage": 10.0 * n} for n in (1, 2, 3)]
    tracker.log_usage(rows[:2])
    again = make_tracker(folder)
    again.start(make_run(key))
    again.log_usage(rows)
    again.log_usage([])
    assert again.complaint == ""
    name = "system/cpu_utilization_percentage"
    points = client_of(tracker).get_metric_history(tracker.run_id, name)
    assert [(one.step, one.value) for one in points] == [(1, 10.0), (3, 20.0), (4, 30.0)]
    assert "train" not in all_runs(tracker, key)


def test_a_description_that_somebody_wrote_stays(tracker: Tracker, key: str) -> None:
    tracker.close({}, {}, {}, "* report: `/a`")
    tracker.close({}, {}, {}, "* report: `/b`")
    parent = all_runs(tracker, key)["pipeline"]
    assert parent.data.tags["mlflow.note.content"] == "* report: `/a`"


def test_further_tags_are_there_at_once_and_after_the_end(tracker: Tracker, key: str) -> None:
    tracker.tag({"ddpm.ray": "http://ray:8265"})
    assert all_runs(tracker, key)["pipeline"].data.tags["ddpm.ray"] == "http://ray:8265"
    tracker.close({}, {}, {})
    tags = all_runs(tracker, key)["pipeline"].data.tags
    assert (tags["ddpm.ray"], tags["ddpm.report"]) == ("http://ray:8265", "/report")
