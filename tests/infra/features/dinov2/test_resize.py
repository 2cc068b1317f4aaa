"""The input against Pillow itself on whole RGB images, and Pillow's rule against its formula."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from infra.features.dinov2.resize import network_input, resize_bicubic

CPU = torch.device("cpu")


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def by_pillow(image: torch.Tensor, side: int) -> np.ndarray:
    """dgm-eval's transform of a file: RGB, resized to side x side, / 255, less the mean, over the deviation."""
    channels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels).convert("RGB")
    resized = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return ((resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28), (2, 3, 300, 401), (1, 3, 224, 224), (1, 1, 8, 5)])
def test_the_input_is_that_of_an_image_file(shape: tuple[int, ...]) -> None:
    drawn = images(*shape)
    found = network_input(drawn, 224, CPU)
    assert (found.shape, found.dtype) == ((shape[0], 3, 224, 224), torch.float32)
    for ours, image in zip(found, drawn, strict=True):
        np.testing.assert_allclose(ours.numpy(), by_pillow(image, 224), rtol=1e-6, atol=1e-6)


def taps(size: int, side: int) -> np.ndarray:
    """[side, size]: Keys' kernel with a = -1/2, widened by the scale if the image shrinks, and normalised."""
    scale = size / side
    wide = max(scale, 1.0)
    matrix = np.zeros((side, size))
    for target in range(side):
        centre = (target + 0.5) * scale
        for source in range(size):
            d = abs(source + 0.5 - centre) / wide
            matrix[target, source] = (
                1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0
            )
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize(("size", "side"), [(8, 20), (61, 20), (20, 20)])
def test_pillow_is_bicubic_antialiased_and_rounded(size: int, side: int) -> None:
    image = images(1, size, size)
    found = resize_bicubic(image, side)[0].numpy().astype(np.float64)
    matrix = taps(size, side)
    # Pillow resizes along the width, rounds and clips, then along the height.
    rows = np.floor((image[0].numpy().astype(np.float64) @ matrix.T) + 0.5).clip(0, 255)
    expected = np.floor(matrix @ rows + 0.5).clip(0, 255)
    assert np.abs(found - expected).max() <= 1  # its weights are fixed-point numbers
    assert (found == expected).mean() > 0.99
    assert math.isclose(found.mean(), expected.mean(), abs_tol=0.01)


def test_grey_is_repeated_after_the_resize() -> None:
    grey = images(1, 1, 30, 30)
    torch.testing.assert_close(network_input(grey, 28, CPU), network_input(grey.expand(-1, 3, -1, -1), 28, CPU))
