"""The stages as the pipeline sees them: what each says of its result."""

from typing import Any

import pytest

from flows.account import Account
from flows.artifacts import Artifact
from flows.stage import Stage
from flows.stages.evaluate.stage import EVALUATE
from flows.stages.prepare.stage import PREPARE
from flows.stages.report.stage import REPORT
from flows.stages.sample.stage import SAMPLE
from flows.stages.table import STAGES
from flows.stages.train.stage import MAX_SNAPSHOT_BYTES, TRAIN
from tests.conftest import TinyRun


def result(run: TinyRun, stage: Stage[Any, Any]) -> Any:
    return {"prepare": run.dataset, "train": run.snapshot, "sample": run.samples, "evaluate": run.figures}[stage.name]


def account(run: TinyRun, stage: Stage[Any, Any]) -> Account:
    by_name = {one.name: one for one in STAGES}
    inputs = [result(run, by_name[name]) for name in stage.inputs]
    return stage.account(getattr(run.config, stage.name), result(run, stage), inputs, run.store)


def test_a_stage_comes_after_its_inputs() -> None:
    known: set[str] = set()
    for stage in STAGES:
        assert set(stage.inputs) <= known
        known.add(stage.name)
    assert STAGES == (PREPARE, TRAIN, SAMPLE, EVALUATE, REPORT)


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if issubclass(stage.artifact, Artifact)], ids=lambda s: s.name
)
def test_outputs_are_in_the_folders_that_it_names(tiny_run: TinyRun, stage: Stage[Any, Any]) -> None:
    artifact = result(tiny_run, stage)
    assert artifact.name.split("/")[0] in stage.folders
    assert isinstance(artifact, stage.artifact)


def test_every_folder_is_some_stages(tiny_run: TinyRun) -> None:
    folders = {path.parent.parent.parent.name for path in tiny_run.root.glob("*/*/manifests/*.json")}
    assert folders <= {folder for stage in STAGES for folder in stage.folders}


def test_the_preparation_says_what_it_found(tiny_run: TinyRun) -> None:
    said = account(tiny_run, PREPARE)
    dataset = tiny_run.dataset
    assert said.line.startswith(f"{dataset.train_images:,} training and {dataset.test_images:,} held-out images")
    assert said.metrics["prepare/found_images"] == dataset.train_images + dataset.test_images
    assert b"<html" in said.files["card.html"]
    source, data = said.inputs
    assert (source.purpose, source.digest) == ("source", dataset.key)
    assert (data.name, data.digest, data.purpose) == ("digits", dataset.digest, "prepared")


def test_training_hands_over_its_snapshot_and_history(tiny_run: TinyRun) -> None:
    said = account(tiny_run, TRAIN)
    assert said.line == "1,280 images seen"
    assert len(said.files["snapshot.safetensors"]) < MAX_SNAPSHOT_BYTES
    rows = [row for row in said.history if "loss" in row]
    assert said.files["history.jsonl"].count(b"\n") == len(rows) == 4
    assert said.history[-1]["images_seen"] == 1280
    assert said.history[-1]["held_out_loss"] > 0, "the figures of the points come after the rows"
    assert said.tags["ddpm.best"].startswith(f"{tiny_run.root}/train/")
    best = tiny_run.snapshot.manifest(tiny_run.store).facts["best"]
    assert said.tags["ddpm.best"].endswith(best["file"])
    assert said.tags["ddpm.best_sha256"] == best["sha256"]
    assert said.model is not None
    assert said.model.sha256 == said.tags["ddpm.snapshot_sha256"]
    assert said.tags["ddpm.snapshot"].startswith(f"{tiny_run.root}/train/")


def test_sampling_shows_a_picture(tiny_run: TinyRun) -> None:
    said = account(tiny_run, SAMPLE)
    assert said.line == "24 images"
    assert said.files["samples.png"].startswith(b"\x89PNG")
