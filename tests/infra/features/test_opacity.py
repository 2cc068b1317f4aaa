"""Compositing over white by its definition."""

import torch

from infra.features.opacity import over_white


def test_each_colour_and_opacity_is_rounded() -> None:
    colour, opacity = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    images = torch.stack([colour, 255 - colour, colour, opacity])[None].to(torch.uint8)
    share = opacity.double() / 255
    expected = torch.stack([one * share + 255 * (1 - share) for one in (colour, 255 - colour, colour)])
    found = over_white(images)
    assert found.dtype == torch.uint8
    assert (found[0].double() - expected).abs().max() <= 0.5 + 1e-9


def test_images_without_opacity_are_the_same_tensor() -> None:
    for channels in (1, 3):
        images = torch.zeros((2, channels, 4, 5), dtype=torch.uint8)
        assert over_white(images) is images
