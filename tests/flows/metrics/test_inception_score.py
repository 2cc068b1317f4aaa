"""The Inception score of the classifier's classes, by its own network on the samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import flows.metrics.sides
import infra.features.classifier
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import sealed_weights
from flows.metrics.inception_score import INCEPTION_SCORE
from flows.metrics.metric import Subject
from infra.features.classifier import Classifier
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
from infra.outputs.tensors import decode_tensors
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, subject


@pytest.fixture
def classified(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 20)
    weights = sealed_weights(ExtractorName.CLASSIFIER, tiny_run.dataset, threads=1, context=tiny_run.context)
    return replace(subject(tiny_run), extractor=ExtractorName.CLASSIFIER, weights=weights)


def by_numpy(p: np.ndarray) -> float:
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0, keepdims=True)))).sum(1).mean()))


def test_it_is_that_of_the_networks_probabilities(tiny_run: TinyRun, classified: Subject) -> None:
    assert classified.weights is not None
    (unit,) = classified.weights.units
    network = Classifier(1, 10)
    network.load_state_dict(
        decode_tensors(read_verified(tiny_run.store, classified.weights.folder, unit), unit["file"])[0]
    )
    images = DatasetReader(store=tiny_run.store, manifest=tiny_run.samples.manifest(tiny_run.store)).load("samples")[0]
    with torch.no_grad():
        p = network.eval()(torch.from_numpy(images) / 255).double().softmax(1).numpy()
    parts = [by_numpy(p[i * 24 // 10 : (i + 1) * 24 // 10]) for i in range(10)]
    found = measured(INCEPTION_SCORE, classified, tiny_run.context)
    over_splits, whole = found.figures
    assert (over_splits.name, whole.name) == ("is_classifier", "is_one_split_classifier")
    assert over_splits.value == pytest.approx(np.mean(parts), rel=1e-5)
    assert over_splits.standard_error == pytest.approx(np.std(parts, ddof=1) / 10**0.5, rel=1e-4)
    assert whole.value == pytest.approx(by_numpy(p), rel=1e-5)
    assert whole.standard_error is None
    assert f"standard deviation {np.std(parts):.3f}; biased below 100" in over_splits.note


@pytest.mark.parametrize(("count", "figures"), [(19, ["is_one_split"]), (20, ["is", "is_one_split"])])
def test_each_split_needs_two_images(tiny_run: TinyRun, classified: Subject, count: int, figures: list[str]) -> None:
    about = replace(classified, samples=replace(classified.samples, count=count))
    found = measured(INCEPTION_SCORE, about, tiny_run.context)
    assert [figure.name for figure in found.figures] == [f"{name}_classifier" for name in figures]
    assert [figure.headline for figure in found.figures] == [True, False][: len(figures)]
    assert found.figures[-1].value > 1
    assert found.figures[-1].standard_error is None
    assert ("the mean of 10 splits needs 20 samples" in found.figures[-1].note) == (count < 20)
    assert found.counts == {"scored_samples": count}


def test_it_has_the_fields_name_with_published_weights_only(
    tiny_run: TinyRun, classified: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.metrics.sides, "is_published", lambda *_: True)
    found = measured(INCEPTION_SCORE, classified, tiny_run.context)
    assert [figure.name for figure in found.figures] == ["inception_score", "inception_score_one_split"]
