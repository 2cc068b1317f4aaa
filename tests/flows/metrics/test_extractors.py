"""The extractors by name, and the weights of the one that learns: fitted once, with its accuracy on held-out images."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import infra.features.classifier
from flows.metrics import extractors
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import (
    EXTRACTORS,
    accuracy_of,
    open_class_scores,
    open_extractor,
    sealed_weights,
    settled_extractor,
)
from infra.errors import ConfigError
from infra.features.classifier import FEATURE_DIM, Classifier
from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Plan
from infra.outputs.tensors import decode_tensors, encode_tensors


def classifier(run: Any) -> Manifest:
    found = sealed_weights(ExtractorName.CLASSIFIER, run.dataset, threads=1, context=run.context)
    assert found is not None
    return found


def test_each_name_but_auto_has_a_kind() -> None:
    assert set(EXTRACTORS) == set(ExtractorName) - {ExtractorName.AUTO}


def test_weights_are_fitted_once(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 20)
    first = classifier(tiny_run)
    monkeypatch.setattr("infra.features.classifier.train_classifier", lambda *_: pytest.fail("it is sealed"))
    assert classifier(tiny_run) == first
    assert first.plan["inputs"] == {"dataset": tiny_run.dataset.digest}
    accuracy = accuracy_of(first)
    assert accuracy is not None
    assert (accuracy.images, accuracy.near_chance) == (tiny_run.dataset.test_images, False)
    assert first.facts["train_images"] == tiny_run.dataset.train_images
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    assert open_extractor(ExtractorName.CLASSIFIER, first, tiny_run.store)(images)[FEATURES].shape == (3, FEATURE_DIM)


def test_an_extractor_that_learns_nothing_needs_no_weights(tiny_run: Any) -> None:
    assert sealed_weights(ExtractorName.PIXELS, tiny_run.dataset, threads=1, context=tiny_run.context) is None
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    found = open_extractor(ExtractorName.PIXELS, None, tiny_run.store)(images)[FEATURES]
    torch.testing.assert_close(found, images.flatten(1) / 255)


@pytest.mark.parametrize(("labels", "expected"), [((), "pixels"), (("one",), "pixels"), (("a", "b"), "classifier")])
def test_auto_depends_on_the_labels(tiny_run: Any, labels: tuple[str, ...], expected: str) -> None:
    data = replace(tiny_run.dataset, class_names=labels)
    assert settled_extractor(ExtractorName.AUTO, data) == expected
    assert settled_extractor(ExtractorName.PIXELS, data) == "pixels"
    if expected == "pixels":
        with pytest.raises(ConfigError, match="fewer than two classes"):
            settled_extractor(ExtractorName.CLASSIFIER, data)


def test_it_is_fitted_to_a_bounded_number_of_images_spread_over_the_split(
    tiny_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    train = infra.features.classifier.train_classifier

    def watched(images: torch.Tensor, labels: torch.Tensor, classes: int) -> Any:
        seen.append((len(images), len(labels.unique())))
        return train(images, labels, classes)

    monkeypatch.setattr(infra.features.classifier, "_STEPS", 5)
    monkeypatch.setattr(infra.features.classifier, "train_classifier", watched)
    monkeypatch.setattr(extractors, "FORMAT_VERSION", 99)  # another key, since a test before has sealed them
    monkeypatch.setattr(extractors, "_FITTED_BYTES", 8 * 8 * 50)
    monkeypatch.setattr(extractors, "_PART", 64)
    found = classifier(tiny_run)
    assert seen == [(50, 10)]
    accuracy = accuracy_of(found)
    assert accuracy is not None
    assert (found.facts["train_images"], accuracy.images) == (50, tiny_run.dataset.test_images)


def test_class_scores_are_those_of_the_network(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 20)
    weights = classifier(tiny_run)
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    features = open_extractor(ExtractorName.CLASSIFIER, weights, tiny_run.store)(images)[FEATURES]
    network = Classifier(1, 10)
    (unit,) = weights.units
    network.load_state_dict(decode_tensors(read_verified(tiny_run.store, weights.folder, unit), unit["file"])[0])
    with torch.no_grad():
        expected = network.eval()(images / 255).double()
    scores = open_class_scores(ExtractorName.CLASSIFIER, weights, tiny_run.store)(features)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_inceptions_scores_leave_the_bias_out(make_context: Any) -> None:
    """As the original code does: pool_3 times the matrix of the classes, and nothing else."""
    context = make_context()
    output = context.output(Plan(stage="weights", format_version=0, settings={}, inputs={}))
    output.begin({})
    matrix = torch.randn(6, 4)
    record = output.commit("units/000000", "safetensors", encode_tensors({"fc.weight": matrix}, {}), {})
    weights = output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {})
    features = torch.randn(3, 4)
    scores = open_class_scores(ExtractorName.INCEPTION, weights, context.store)(features)
    torch.testing.assert_close(scores, features.double() @ matrix.double().T)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_states_its_rule_for_the_provenance(name: ExtractorName) -> None:
    """And the rule of a program promises no resize, since the program does its own."""
    assert EXTRACTORS[name].rule
    assert ("resized to" in EXTRACTORS[name].rule) == (name in (ExtractorName.INCEPTION, ExtractorName.DINOV2))
