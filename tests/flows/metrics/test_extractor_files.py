"""Extractors with a file: the label of their features, and weights from either file that people have."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import EXTRACTORS, extractor_label, is_published, open_extractor, sealed_weights
from infra.digests import sha256
from infra.features.dinov2.network import DinoV2
from infra.features.dinov2.weights import PUBLISHED as DINOV2_FILES
from infra.features.dinov2.weights import read_weights
from infra.features.extractor import FEATURES, ExtractorKind, only_features
from infra.features.inception.weights import PUBLISHED as INCEPTION_FILES
from infra.features.weights_file import WeightsFile
from infra.outputs.manifest import Manifest
from tests.infra.features.dinov2.files import (
    SMALL,
    Weights,
    random_weights,
    state_dict_file,
    transformers_file,
    with_the_mask,
)


def with_file(digest: str) -> Manifest:
    """Sealed weights from a file with this sha256."""
    facts = {"sha256": digest}
    return Manifest(
        stage="weights", key="k", folder="f", goal={}, units=[], facts=facts, digest="d", plan={}, environment={}
    )


def test_unlike_features_never_have_the_same_label() -> None:
    published, other = next(iter(DINOV2_FILES)), "ab12cd34" + "0" * 56
    assert extractor_label(ExtractorName.PIXELS, None) == "pixels"
    assert extractor_label(ExtractorName.DINOV2, with_file(published)) == "dinov2"
    assert extractor_label(ExtractorName.DINOV2, with_file(other)) == "dinov2_ab12cd34"
    assert extractor_label(ExtractorName.PROGRAM, with_file(other)) == "program_ab12cd34"
    assert extractor_label(ExtractorName.INCEPTION, with_file(other)) == "inception"


def test_only_inceptions_published_weights_give_an_fid() -> None:
    assert is_published(ExtractorName.INCEPTION, with_file(next(iter(INCEPTION_FILES))))
    assert not is_published(ExtractorName.INCEPTION, with_file("0" * 64))
    assert not is_published(ExtractorName.DINOV2, with_file(next(iter(DINOV2_FILES))))


@pytest.mark.parametrize("name", [name for name in ExtractorName if name.file])
def test_a_choice_names_the_file_that_its_kind_takes(name: ExtractorName) -> None:
    file = EXTRACTORS[name].file
    assert file is not None
    assert file.remedy == f"take {name.file}"
    assert name.runs_code == (not file.published)


@pytest.mark.parametrize("form", [state_dict_file, transformers_file])
def test_dinov2_is_sealed_and_opened_from_either_file(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Callable[[Weights], bytes]
) -> None:
    weights = random_weights(SMALL, seed=7)
    file = tmp_path / "weights"
    file.write_bytes(form(with_the_mask(weights) if form is state_dict_file else weights))
    small = ExtractorKind(
        open=lambda tensors, _: only_features(DinoV2(tensors, SMALL)),
        file=WeightsFile(published={}, read=partial(read_weights, size=SMALL), remedy="none"),
    )
    monkeypatch.setattr("flows.metrics.extractors.EXTRACTORS", {ExtractorName.DINOV2: small})
    sealed = sealed_weights(
        ExtractorName.DINOV2,
        tiny_run.dataset,
        threads=1,
        context=tiny_run.context,
        file=str(file),
        digest=sha256(file.read_bytes()),
    )
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    found = open_extractor(ExtractorName.DINOV2, sealed, tiny_run.store)(images)
    assert torch.equal(found[FEATURES], DinoV2(weights, SMALL)(images))
    assert extractor_label(ExtractorName.DINOV2, sealed) == f"dinov2_{sha256(file.read_bytes())[:8]}"


def test_every_kind_with_a_file_has_a_choice_that_says_so() -> None:
    assert {name for name, kind in EXTRACTORS.items() if kind.file} == {name for name in ExtractorName if name.file}
