"""MLflow's own calls where they are not plain: large files, models half made, S3, two processes at once."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.record import ModelFile
from infra.tracking.store import RunStore
from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import make_run, record
from tests.servers import BUCKET, Server

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def make_store(uri: str, folder: Path) -> RunStore:
    return RunStore(uri, "exp", folder)


def test_an_experiment_that_another_process_just_made_is_found(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_store(uri, tmp_path)
    real, answers = MlflowClient.get_experiment_by_name, []

    def late(self: MlflowClient, name: str) -> Any:
        answers.append(name)
        return None if len(answers) == 1 else real(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    assert make_store(uri, tmp_path).experiment_id == made.experiment_id
    assert len(answers) == 2


def test_a_large_file_that_is_refused_does_not_take_the_small_ones_along(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "files"}, {})
    real = MlflowClient.log_artifact

    def limited(self: MlflowClient, run_id: str, path: str, folder: str | None = None) -> None:
        if Path(path).stat().st_size > 100:
            raise OSError("413 Request Entity Too Large")
        real(self, run_id, path, folder)

    monkeypatch.setattr(MlflowClient, "log_artifact", limited)
    with pytest.raises(OSError, match="413"):
        store.log_files(run, {"a-large": b"x" * 101, "b-small": b"x", "c-small": b"x"})
    assert [file.path for file in store.client.list_artifacts(run)] == ["b-small", "c-small"]


def test_a_file_with_a_folder_in_front_lies_in_that_folder(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "folders"}, {})
    store.log_files(run, {"page.html": b"page", "plots/loss.csv": b"1", "plots/loss.png": b"12", "loss.csv": b"other"})
    listed = [file.path for file in store.client.list_artifacts(run)]
    assert sorted(listed) == ["loss.csv", "page.html", "plots"]
    inside = [file.path for file in store.client.list_artifacts(run, "plots")]
    assert sorted(inside) == ["plots/loss.csv", "plots/loss.png"]
    there = Path(store.client.download_artifacts(run, "plots/loss.csv", str(tmp_path)))
    assert there.read_bytes() == b"1", "not the file of the same name in another folder"


def test_a_model_that_was_left_unfinished_becomes_ready(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "model"}, {})
    model = ModelFile(name="net", uri="/net", sha256="9" * 64)
    pending = store._create_model(run, model)
    assert str(pending.status) == "PENDING"
    store.log_model(run, model)
    assert str(store.client.get_logged_model(pending.model_id).status) == "READY"


def test_two_runs_with_the_same_snapshot_link_to_one_model(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    model = ModelFile(name="net", uri="/net", sha256="8" * 64)
    runs = [store.find_or_create("run", {"k": f"shared {number}"}, {}) for number in range(2)]
    for run in (*runs, *runs):
        store.log_model(run, model)
    linked = [[output.model_id for output in store.client.get_run(run).outputs.model_outputs] for run in runs]
    assert linked[0] == linked[1]
    assert len(linked[0]) == 1


def test_artifacts_on_s3_need_nothing_further(uri: str, moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow does not bring the boto3 that its S3 artifacts need."""
    dependencies = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any(line.startswith("boto3") for line in dependencies)
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(uri)
    client.create_experiment("on s3", f"s3://{BUCKET}/mlflow")
    client.create_experiment("on no bucket", "s3://no-such-bucket/mlflow")
    complaints = {}
    for experiment in ("on s3", "on no bucket"):
        tracker = Tracker(uri, experiment, None)
        tracker.start(make_run("k"))
        tracker.begin("train", {})
        tracker.publish("train", record())
        complaints[experiment] = tracker.complaint
        run = client.get_run(tracker._runs.children["train"])
        assert run.data.metrics.keys() == {"train/loss", "train/fd"}
        assert run.info.status == "FINISHED"
        assert ("ddpm.published" in run.data.tags) == (experiment == "on s3")
    assert complaints["on s3"] == ""
    assert "did not take files (" in complaints["on no bucket"]
    assert "metrics" not in complaints["on no bucket"]
    (run,) = client.search_runs([client.get_experiment_by_name("on s3").experiment_id], "tags.`ddpm.stage` = 'train'")
    assert Path(client.download_artifacts(run.info.run_id, "notes.txt")).read_bytes() == b"hello"


def test_a_run_that_was_deleted_or_never_was_is_not_there(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "gone"}, {})
    assert store.is_there(run)
    store.client.delete_run(run)
    assert not store.is_there(run)
    assert not store.is_there("0" * 32)


def test_a_figure_that_falls_is_shown_and_a_repetition_is_no_new_point(uri: str, tmp_path: Path) -> None:
    """MLflow itself keeps the larger one of two points at one step and time."""
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "falls"}, {})
    for value, points in ((10.0, 1), (10.0, 1), (7.0, 2), (7.0, 2), (8.0, 3), (float("nan"), 4), (float("nan"), 4)):
        store.log_figures(run, {"best/fd": value, "other": 1.0})
        shown = store.client.get_run(run).data.metrics
        assert shown["best/fd"] == value or (math.isnan(value) and math.isnan(shown["best/fd"]))
        assert len(store.client.get_metric_history(run, "best/fd")) == points
        assert len(store.client.get_metric_history(run, "other")) == 1


def test_a_figure_has_its_step_unless_a_later_one_is_there(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "steps"}, {})
    for value, step in ((10.0, 3), (7.0, 5), (9.0, 2)):
        store.log_figures(run, {"best/fd": value}, step)
        assert store.client.get_run(run).data.metrics == {"best/fd": value}
    history = sorted(store.client.get_metric_history(run, "best/fd"), key=lambda one: one.timestamp)
    assert [(one.value, one.step) for one in history] == [(10.0, 3), (7.0, 5), (9.0, 5)]


def test_a_figure_of_a_model_that_falls_is_the_last_one(uri: str, tmp_path: Path) -> None:
    store = make_store(uri, tmp_path)
    run = store.find_or_create("run", {"k": "model falls"}, {})
    model = ModelFile(name="falls", uri="/x", sha256="fa" * 32)
    for value, points in ((10.0, 1), (10.0, 1), (7.0, 2)):
        store.log_model_figures(run, model, {"fd": value}, [])
        stored = store.client.get_logged_model(store.find_or_create_model(run, model).model_id)
        assert len(stored.metrics) == points
        assert max(stored.metrics, key=lambda one: (one.step, one.timestamp)).value == value
        assert store.client.get_run(run).data.metrics["fd"] == value
