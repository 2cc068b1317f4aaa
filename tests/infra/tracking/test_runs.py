"""The runs of a pipeline: found by their key, named for MLflow's list, and none before a delivery needs it."""

from pathlib import Path

from infra.tracking.runs import PipelineRuns
from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import all_runs, make_run, make_tracker


def test_names_and_origins_fill_the_list_of_runs(tracker: Tracker, key: str) -> None:
    tracker.begin("train", {})
    runs = all_runs(tracker, key)
    assert runs["pipeline"].info.run_name == make_run(key).name
    assert runs["train"].info.run_name == f"train {make_run(key).name}"
    for run in runs.values():
        assert run.data.tags["mlflow.source.name"] == "ddpm"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        assert run.data.tags["mlflow.user"]


def test_another_key_has_runs_of_its_own(tracker: Tracker, folder: Path, key: str) -> None:
    tracker.begin("train", {"a": 1})
    other = make_tracker(folder)
    other.start(make_run("another-key"))
    other.begin("train", {"a": 2})
    assert other.complaint == ""
    one, two = all_runs(tracker, key)["train"], all_runs(other, "another-key")["train"]
    assert one.info.run_id != two.info.run_id
    assert (one.data.params, two.data.params) == ({"a": "1"}, {"a": "2"})


def test_nothing_is_connected_before_it_is_needed(tmp_path: Path) -> None:
    runs = PipelineRuns(f"sqlite:///{tmp_path / 'mlflow.db'}", "exp", tmp_path)
    runs.pipeline = make_run("k")
    assert (runs.store, runs.parent, runs.children) == (None, "", {})
    assert list(tmp_path.iterdir()) == []
