"""FID's network on a GPU gives the CPU's features."""

import pytest
import torch

from ddpm_core.metrics.frechet import FeatureStats
from infra.features.inception.network import Inception
from tests.infra.features.inception.files import random_weights

pytestmark = pytest.mark.gpu


def test_features_are_the_cpus_but_for_rounding(device):
    weights = random_weights()
    images = torch.randint(0, 256, (18, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    here = Inception(weights)(images)
    extract = Inception({name: tensor.to(device) for name, tensor in weights.items()})
    there = extract(images)
    assert there.device.type == device.type
    # Some 50 layers in float32, each rounded by 6e-8 of its terms; TF32 would differ by a hundred times more.
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4 * float(here.abs().mean()))
    assert torch.equal(extract(images), there), "equal images give equal bits"
    stats = FeatureStats.empty(there.shape[1], there.device).update(there)
    assert (stats.outer.device.type, stats.outer.dtype) == (device.type, torch.float64)
