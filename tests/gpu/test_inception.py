"""FID's network on a GPU gives the CPU's features."""

import pytest
import torch

from ddpm_core.metrics.frechet import FeatureStats
from infra.features.extractor import FEATURES
from infra.features.inception.network import Inception
from tests.infra.features.inception.files import random_weights

pytestmark = pytest.mark.gpu


def test_features_are_the_cpus_but_for_rounding(device):
    weights = random_weights()
    images = torch.randint(0, 256, (18, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    here = Inception(weights)(images)
    extract = Inception({name: tensor.to(device) for name, tensor in weights.items()})
    there = extract(images)
    again = extract(images)
    for layer, rows in there.items():
        _equal_but_for_rounding(rows, here[layer], device)
        assert torch.equal(again[layer], rows), "equal images give equal bits"
    features = there[FEATURES]
    stats = FeatureStats.empty(features.shape[1], features.device).update(features)
    assert (stats.outer.device.type, stats.outer.dtype) == (device.type, torch.float64)


def _equal_but_for_rounding(there, here, device):
    assert there.device.type == device.type
    # Some 50 layers in float32, each rounded by 6e-8 of its terms; TF32 would differ by a hundred times more.
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4 * float(here.abs().mean()))
