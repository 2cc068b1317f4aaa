"""Feature extractors compute on their weights' device and bring it nothing but images, from pinned memory."""

import pytest
import torch
from torch import Tensor

from infra.features.classifier import CLASSIFIER, Classifier
from infra.features.dinov2.network import DinoV2
from infra.features.extractor import FEATURES, Extractor, only_features
from infra.features.inception.network import Inception
from infra.features.pixels import PIXELS
from tests.infra.features.dinov2 import files as dinov2
from tests.infra.features.inception import files as inception
from tests.standin.device import DEVICE, RefusedError, stand_in

HERE = torch.zeros(18, 3, 32, 32, dtype=torch.uint8)


def moved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(DEVICE) for name, tensor in weights.items()}


def with_a_network(name: str) -> tuple[Extractor, dict[str, Tensor]]:
    """An extractor that takes images of the host, and its weights."""
    if name == "inception":
        weights = moved(inception.random_weights())
        return Inception(weights), weights
    weights = moved(dinov2.random_weights(dinov2.SMALL))
    return only_features(DinoV2(weights, dinov2.SMALL)), weights


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_images_of_the_host_come_from_pinned_memory(name: str) -> None:
    extract, _ = with_a_network(name)
    with stand_in(with_host=True) as watch:
        features = extract(HERE)
    assert {rows.device for rows in features.values()} == {DEVICE}
    assert all(len(rows) == len(HERE) for rows in features.values())
    assert not watch.reads
    assert watch.pinned


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_a_weight_of_the_host_is_found(name: str) -> None:
    extract, weights = with_a_network(name)
    part = next(part for part in weights if part.endswith("weight") and "head" not in part)
    weights[part] = torch.zeros(weights[part].shape)
    with stand_in(with_host=True), pytest.raises(RefusedError, match=rf"infra/features/{name}/network.py:\d+ .*two"):
        extract(HERE)


def test_a_value_asked_back_between_layers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    extract, _ = with_a_network("inception")
    usual = Inception._apply
    monkeypatch.setattr(Inception, "_apply", lambda self, *step: usual(self, *step) * float(step[1].mean()))
    with stand_in(with_host=True), pytest.raises(RefusedError, match=r"network.py:\d+ `x = self._apply.* reads values"):
        extract(HERE)


def test_a_copy_that_waits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    extract, _ = with_a_network("inception")
    monkeypatch.setattr("infra.features.inception.network.to_device", lambda tensor, device: tensor.to(device))
    with stand_in(with_host=True), pytest.raises(RefusedError, match=r"network.py:\d+ .*waits"):
        extract(HERE)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_extractors_stay_with_their_images(channels: int) -> None:
    """They keep to the CPU today; nothing in them stands against a GPU."""
    there = torch.zeros(4, channels, 32, 32, dtype=torch.uint8, device=DEVICE)
    shape = {"channels": channels, "classes": 3}
    with DEVICE:
        weights = Classifier(**shape).state_dict()
        classify = CLASSIFIER.open(weights, shape)
    extractors = [PIXELS.open({}, {}), classify]
    with stand_in() as watch:
        assert [extract(there)[FEATURES].device for extract in extractors] == [DEVICE, DEVICE]
    assert not watch.reads
