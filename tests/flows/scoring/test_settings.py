"""The settings that a score does not use."""

from pathlib import Path

import numpy as np
import pytest

from flows.metrics.choices import MetricName
from flows.recipe.settings import load_config
from flows.scoring.settings import unused_settings
from tests.flows.scoring.test_score import drawn, saved

UNUSED = [
    "train.images=5",
    "sample.count=9",
    "prepare.source=x",
    "prepare.use_splits=true",
    "prepare.holdout=0.2",
    "evaluate.reference_statistics=x.npz",
    'evaluate.likelihood=["bound"]',
    "evaluate.bpd_images=9",
    "evaluate.bpd_draws=2",
    "evaluate.batch_size=3",
    "evaluate.flow_steps=9",
    "evaluate.extractor_weights=x",
    "evaluate.extractor_sha256=",
    "prepare.resize_filter=box",
]
USED = ["prepare.min_side=2", "prepare.workers=1", "evaluate.threads=1", "evaluate.workers=1", "evaluate.device=cpu"]
OF_METRICS = ['evaluate.metrics=["fd"]', "evaluate.seed=3"]


def names(settings: list[str]) -> list[str]:
    return [text.partition("=")[0] for text in settings]


def unused(sides: list[str], settings: list[str], metrics: list[MetricName]) -> list[str]:
    return unused_settings(sides, load_config("folder", None, settings, together=False), names(settings), metrics)


@pytest.fixture
def side(tmp_path: Path) -> str:
    return str(saved(tmp_path / "a", drawn(2, 0)))


def test_settings_of_other_work_are_named_in_their_order(side: str) -> None:
    assert unused([side, side], UNUSED + USED + OF_METRICS, [MetricName.FD]) == names(UNUSED)


def test_statistics_compute_no_metric(side: str) -> None:
    assert unused([side], UNUSED + USED + OF_METRICS, []) == names(UNUSED + OF_METRICS)


def test_a_file_and_a_filter_are_used_by_what_needs_them(side: str) -> None:
    settings = ["evaluate.extractor=inception", "evaluate.extractor_weights=x", f"evaluate.extractor_sha256={'a' * 64}"]
    settings += ["prepare.image_size=8", "prepare.resize_filter=box"]
    assert unused([side, side], settings, [MetricName.FD]) == []


def test_nothing_is_prepared_for_runs_and_statistics(side: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "st.npz", mu=np.zeros(4), sigma=np.eye(4))
    sides = ["digits-0a1b2c3d/train", str(tmp_path / "st.npz")]
    assert unused(sides, ["prepare.image_size=8"], [MetricName.FD]) == ["prepare.image_size"]
    assert unused([*sides, side], ["prepare.image_size=8"], [MetricName.FD]) == []
