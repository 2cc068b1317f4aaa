"""FD-DINOv2's features as a kind of extractor."""

import torch

from infra.features.dinov2.kind import DINOV2
from infra.features.dinov2.size import LARGE
from infra.features.dinov2.weights import PUBLISHED, weight_shapes
from infra.features.extractor import FEATURES


def test_it_takes_the_published_files_and_learns_nothing() -> None:
    assert DINOV2.fit is None
    assert DINOV2.file is not None
    assert DINOV2.file.published == PUBLISHED


def test_it_opens_the_large_network() -> None:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    shapes = weight_shapes(LARGE)
    weights = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}  # one number of memory each
    # A class token of zeros stays one: the last norm gives its bias.
    weights["norm.bias"] = torch.arange(1024.0)
    torch.testing.assert_close(DINOV2.open(weights, {})(images), {FEATURES: torch.arange(1024.0)[None]})
