"""Stages with their tracking, on a real MLflow store."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.data import get_source
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource

from flows.recipe.config import PipelineConfig
from flows.recipe.identity import settings_of
from flows.recipe.run import recipe_surroundings
from flows.recipe.settings import load_config
from flows.runtime.runner import run_stage
from flows.stages.prepare.stage import PREPARE
from infra.errors import ConfigError, InputError
from tests.flows.sessions import client_of, everything, opened, put_images, run_settings, run_whole, small, tracked_runs
from tests.tiny import TINY

STAGES = ("prepare", "train", "sample", "evaluate")


def test_the_pipelines_run_has_settings_data_and_figures_together(root: Path, tmp_path: Path) -> None:
    """MLflow's comparison joins settings and figures: two runs differ in one setting, each has its figures."""
    folder = put_images(tmp_path / "images", range(40))
    rates = {}
    for rate in (1e-3, 4e-3):
        config = small(folder, f"train.learning_rate={rate}")
        session = run_whole(config, root)
        run = tracked_runs(root, "pipeline")[session.name]
        params, metrics = run.data.params, run.data.metrics
        assert set(settings_of(config)) <= set(params)
        assert {stage for stage, _, _ in (name.partition(".") for name in params)} >= {*STAGES}
        assert params["train.channel_mults"] == "[1, 2]"
        assert params["prepare.source"] == str(folder)
        figures = {name for name in metrics if name.startswith("eval/")}
        assert {"eval/fd_pixels", "eval/bits_per_dim_fixed_large", "eval/prior_bpd"} <= figures
        assert not {name for name in metrics if name.endswith(("bpd_images", "distance_samples"))}
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("images", params["data.key"])
        source = get_source(data)
        assert isinstance(source, FileSystemDatasetSource)
        assert (data.dataset.source_type, source.uri) == ("local", str(folder))
        assert data.dataset.digest in next((root / "prepare").iterdir()).name
        rates[params["train.learning_rate"]] = metrics["eval/bits_per_dim_fixed_large"]
    assert set(rates) == {"0.001", "0.004"}
    assert len(set(rates.values())) == 2


def test_settings_are_no_metrics_of_a_stage_either(root: Path, tiny: PipelineConfig) -> None:
    name = run_whole(tiny, root).name
    evaluated = tracked_runs(root, "evaluate")[f"evaluate {name}"]
    assert len(evaluated.data.metrics) > 5
    counts = {"eval/bpd_images", "eval/distance_samples"}
    assert not counts & set(evaluated.data.metrics)
    tags = evaluated.data.tags
    assert (tags["ddpm.bpd_images"], tags["ddpm.distance_samples"]) == ("16", "24")
    assert evaluated.data.params["evaluate.bpd_images"] == "16"


def test_a_failed_stage_is_a_failed_run(root: Path, tmp_path: Path) -> None:
    folder = put_images(tmp_path / "images", range(40))
    (folder / "0.png").write_bytes(b"no picture")
    with (
        pytest.raises(InputError, match=r"^prepare: ") as caught,
        opened(small(folder), run_settings(root)) as session,
    ):
        session.to("prepare")
    for stage in ("pipeline", "prepare"):
        (run,) = tracked_runs(root, stage).values()
        assert run.info.status == "FAILED"
    assert caught.value.__notes__ == ["prepare keeps 0 of 40 images"]


def test_what_fails_before_its_data_are_known_is_no_run(root: Path, tmp_path: Path) -> None:
    nowhere = small(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^prepare: "), opened(nowhere, run_settings(root)) as session:
        session.to("prepare")
    experiments = [experiment.experiment_id for experiment in client_of(root).search_experiments()]
    assert not client_of(root).search_runs(experiments)
    assert not (root / "reports").exists()


def test_a_tracking_server_that_is_away_costs_a_line(
    tiny: PipelineConfig, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with opened(tiny, run_settings(root)) as session:
        assert session.to("prepare").train_images > 0
        assert "did not answer" in session.around.tracker.complaint
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with opened(tiny, run_settings(root)) as session:
        assert session.to("prepare").reused
    (run,) = tracked_runs(root, "prepare").values()
    assert run.info.status == "FINISHED", "what was missed is delivered later"
    assert everything(root, run)["points"]["prepare/train_images"]


def test_a_class_that_the_data_has_not_is_refused_before_training(root: Path) -> None:
    config = load_config("digits", None, [*TINY, "train.class_conditional=true", "sample.label=10"])
    refused = pytest.raises(ConfigError, match=r"sample.label: must be below the data's 10 classes; got 10")
    with opened(config, run_settings(root)) as session, refused:
        session.to("train")
    assert not (root / "train").exists()
    (run,) = tracked_runs(root, "pipeline").values()
    assert run.info.status == "FAILED"


def test_a_stage_that_is_tried_again_does_not_wait_for_itself(root: Path, tmp_path: Path) -> None:
    config, settings = small(put_images(tmp_path / "images", range(40))), run_settings(root)
    with recipe_surroundings(config, settings) as around:
        first = run_stage(PREPARE, settings, config.prepare)
        again = run_stage(PREPARE, settings, config.prepare)
    assert again == replace(first, reused=True)
    assert list(tracked_runs(root, "pipeline")) == [around.name]
