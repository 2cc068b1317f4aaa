"""The extractors by name, and the weights of the one that learns: fitted once, with its accuracy on held-out images."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import infra.features.classifier
from flows.metrics import extractors
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import EXTRACTORS, accuracy_of, open_extractor, sealed_weights, settled_extractor
from infra.errors import ConfigError
from infra.features.classifier import FEATURE_DIM
from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest


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
