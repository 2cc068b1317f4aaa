"""A user's program from the settings to the figure: its name, its digest in the keys, refusals before training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from flows.artifacts import Dataset, Figure, Samples
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import sealed_weights
from flows.metrics.features import compared_features
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.evaluate.stage import EVALUATE
from infra.digests import sha256
from infra.errors import InputError
from infra.outputs.images import DatasetReader
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject
from tests.infra.features.programs import Moments, exported_file, torchscript_file


def config_of(run: TinyRun, place: Path, data: bytes, digest: str = "") -> EvaluateConfig:
    file = place / "a program"
    file.write_bytes(data)
    changes = {
        "metrics": ["fd"],
        "extractor": "program",
        "extractor_weights": str(file),
        "extractor_sha256": digest or sha256(data),
    }
    return EvaluateConfig.model_validate(run.config.evaluate.model_dump() | changes)


def figure_of(run: TinyRun, config: EvaluateConfig) -> Figure:
    figure, *limits = evaluate(config, run.dataset, run.snapshot, run.samples, run.context).figures
    assert all(limit.name == f"{figure.name}_infinity" for limit in limits)
    return figure


def stats(run: TinyRun, of: Dataset | Samples, split: str) -> FeatureStats:
    images = DatasetReader(store=run.store, manifest=of.manifest(run.store)).load(split)[0]
    with torch.no_grad():
        features = Moments()(torch.from_numpy(images).expand(-1, 3, -1, -1))
    return FeatureStats.empty(features.shape[1]).update(features)


def test_the_figure_has_the_programs_name_and_value(tiny_run: TinyRun, tmp_path: Path) -> None:
    data = torchscript_file(Moments())
    figure = figure_of(tiny_run, config_of(tiny_run, tmp_path, data))
    assert figure.name == figure.label == f"fd_program_{sha256(data)[:8]}"
    assert "(not an FID)" in figure.note
    sides = (stats(tiny_run, tiny_run.samples, "samples"), stats(tiny_run, tiny_run.dataset, "train"))
    # Three equal channels have covariances of rank 2, whose root is exact to the root of a float64's precision.
    assert figure.value == pytest.approx(frechet_distance(*sides), rel=1e-4, abs=1e-6)
    exported = figure_of(tiny_run, config_of(tiny_run, tmp_path, exported_file(Moments(), 8)))
    assert exported.name != figure.name
    assert exported.value == pytest.approx(figure.value, rel=1e-4, abs=1e-6)


def test_its_digest_is_in_the_keys_of_its_features(tiny_run: TinyRun, tmp_path: Path) -> None:
    keys = []
    for data in (torchscript_file(Moments()), exported_file(Moments(), 8)):
        config = config_of(tiny_run, tmp_path, data)
        weights = sealed_weights(
            ExtractorName.PROGRAM,
            tiny_run.dataset,
            threads=1,
            context=tiny_run.context,
            file=config.extractor_weights,
            digest=config.extractor_sha256,
        )
        about = replace(subject(tiny_run), extractor=ExtractorName.PROGRAM, weights=weights)
        keys += [work.plan.key for work in compared_features(about)]
    assert len(set(keys)) == 4


def test_a_file_with_another_digest_is_not_loaded(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("the file was loaded"))
    config = config_of(tiny_run, tmp_path, torchscript_file(Moments()), "0" * 64)
    with pytest.raises(InputError, match="has the sha256"):
        EVALUATE.check(config, tiny_run.dataset)
    with pytest.raises(InputError, match="has the sha256"):
        figure_of(tiny_run, config)


def test_a_program_is_tried_before_training_on_images_of_the_datas_shape(tiny_run: TinyRun, tmp_path: Path) -> None:
    EVALUATE.check(config_of(tiny_run, tmp_path, exported_file(Moments(), 8)), tiny_run.dataset)
    with pytest.raises(InputError, match=r"fails on images of shape \[2, 3, 8, 8\]"):
        EVALUATE.check(config_of(tiny_run, tmp_path, exported_file(Moments(), 9)), tiny_run.dataset)


def test_its_label_is_taken_by_every_metric_of_features(tiny_run: TinyRun, tmp_path: Path) -> None:
    data = torchscript_file(Moments())
    config = config_of(tiny_run, tmp_path, data)
    config = EvaluateConfig.model_validate(config.model_dump() | {"metrics": ["fd", "kid", "density_coverage"]})
    figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context).figures
    assert len(figures) >= 4
    assert all(f"_program_{sha256(data)[:8]}" in figure.name for figure in figures)
