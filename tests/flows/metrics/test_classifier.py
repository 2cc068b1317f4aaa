"""The classifier of a data set: trained once, with its accuracy on held-out images."""

import pytest

import infra.features.classifier
from flows.metrics.classifier import sealed_classifier
from flows.metrics.features import load_extractor
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun


def classifier(run: TinyRun) -> Manifest:
    return sealed_classifier(run.dataset, threads=1, format_version=99, context=run.context)


def test_it_is_found_sealed(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 20)
    first = classifier(tiny_run)
    monkeypatch.setattr("flows.metrics.classifier.train_classifier", lambda *_: pytest.fail("it is sealed"))
    assert classifier(tiny_run) == first
    assert first.plan["inputs"] == {"dataset": tiny_run.dataset.digest}
    assert 0.1 < first.facts["held_out_accuracy"] <= 1
    assert load_extractor("fd_classifier", first, tiny_run.store).network is not None
