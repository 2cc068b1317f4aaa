"""The pixels as features: themselves, or their means over equal squares."""

import pytest
import torch

from infra.features.extractor import FEATURES
from infra.features.pixels import PIXELS, averaged_pixels


@pytest.mark.parametrize(("channels", "size", "dim"), [(1, 8, 64), (3, 8, 192), (1, 16, 256), (3, 32, 768)])
def test_they_have_at_most_16_by_16_a_channel(channels: int, size: int, dim: int) -> None:
    images = torch.randint(256, (3, channels, size, size), dtype=torch.uint8)
    assert averaged_pixels(images).shape == (3, dim)


def test_they_are_the_pixels_or_their_means() -> None:
    small = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(averaged_pixels(small), small.float().flatten(1) / 255)
    large = torch.randint(256, (3, 2, 32, 32), dtype=torch.uint8)
    means = large.double().reshape(3, 2, 16, 2, 16, 2).mean((3, 5)) / 255
    assert torch.allclose(averaged_pixels(large).double(), means.flatten(1), atol=1e-6)


def test_the_extractor_learns_nothing() -> None:
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    assert PIXELS.fit is None
    assert torch.equal(PIXELS.open({}, {})(images)[FEATURES], averaged_pixels(images))
