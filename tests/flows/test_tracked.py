"""Stages with their tracking, on a real MLflow store."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.config import PipelineConfig
from flows.presets import load_config
from flows.run_settings import RunSettings
from flows.session import open_session
from flows.tracked import pipeline_key
from infra.errors import ConfigError, InputError
from tests.conftest import TINY


def test_the_pipeline_key_is_that_of_results_and_goals(tiny: PipelineConfig) -> None:
    def key(*settings: str) -> str:
        return pipeline_key(load_config("digits", None, [*TINY, *settings]))

    assert key() == pipeline_key(tiny)
    assert key("sample.workers=2", "train.checkpoint_images=64") == key()
    assert len({key(), key("train.images=1281"), key("sample.seed=1")}) == 3


def test_a_failed_stage_is_a_failed_run(tmp_path: Path) -> None:
    nowhere = load_config("folder", None, [f"prepare.source={tmp_path / 'nowhere'}"])
    settings = RunSettings(name="x", root=str(tmp_path), mode="in-process")
    with pytest.raises(InputError, match=r"^prepare: "), open_session(nowhere, settings) as session:
        session.prepare()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("ddpm").experiment_id])
    assert {run.data.tags["ddpm.stage"]: run.info.status for run in runs} == {"pipeline": "FAILED", "prepare": "FAILED"}


def test_a_tracking_server_that_is_away_costs_a_line(
    tiny: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = RunSettings(name="x", root=str(tmp_path), mode="in-process")
    with open_session(tiny, settings) as session:
        assert session.prepare().train_images > 0
        assert "did not answer" in session.stages.tracker.complaint
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with open_session(tiny, settings) as session:
        assert session.prepare().reused
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("ddpm").experiment_id], "tags.`ddpm.stage` = 'prepare'")
    assert [run.info.status for run in runs] == ["FINISHED"], "what was missed is delivered later"


def test_a_class_that_the_data_has_not_is_refused_before_training(tmp_path: Path) -> None:
    config = load_config("digits", None, [*TINY, "train.class_conditional=true", "sample.label=10"])
    settings = RunSettings(name="x", root=str(tmp_path), mode="in-process", tracking=False)
    with open_session(config, settings) as session:
        dataset = session.prepare()
        with pytest.raises(ConfigError, match=r"sample.label: must be below the data's 10 classes; got 10"):
            session.train(dataset)
    assert not (tmp_path / "train").exists()
