"""TF1's bilinear resize against its formula, a case by hand, and the sampler that NVIDIA's code uses for it."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from infra.features.inception.resize import network_input, resize_tf1


def explicit(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """One channel, pixel by pixel: source = target * size / side, the neighbours weighted by distance."""
    high, wide = image.shape
    out = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            y, x = i * high / side, j * wide / side
            top, left = int(np.floor(y)), int(np.floor(x))
            bottom, right = min(top + 1, high - 1), min(left + 1, wide - 1)
            above = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            below = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
            out[i, j] = above * (1 - (y - top)) + below * (y - top)
    return out


@pytest.mark.parametrize(("high", "wide", "side"), [(8, 8, 29), (5, 7, 11), (40, 23, 13), (1, 3, 9), (13, 13, 13)])
def test_it_is_the_formula(high: int, wide: int, side: int) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, high, wide))
    found = resize_tf1(torch.from_numpy(images), side).numpy()
    expected = np.stack([[explicit(channel, side) for channel in image] for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("size", [8, 32, 401, 1024])
def test_places_in_float32_are_rounded_as_tensorflow_rounds_them(size: int) -> None:
    """TensorFlow's kernel multiplies in float32: `static_cast<float>(i) * (in_size / static_cast<float>(out_size))`."""
    ramp = torch.arange(size, dtype=torch.float32)[None, None, None]  # the value of a pixel is its place
    scale = np.float32(size) / np.float32(299)
    places = np.arange(299, dtype=np.float32) * scale
    assert places.dtype == np.float32
    found = resize_tf1(ramp, 299)[0, 0, 0]
    assert torch.equal(found, torch.from_numpy(places.clip(max=np.float32(size - 1))))
    if size == 401:
        exact = torch.arange(299, dtype=torch.float64) * size / 299
        assert not torch.equal(found, exact.float().clamp(max=size - 1)), "rounding of the scale makes no difference"


def test_a_case_by_hand() -> None:
    x = torch.tensor([[[[0.0, 100.0], [200.0, 40.0]]]])
    expected = [[0, 50, 100, 100], [100, 85, 70, 70], [200, 120, 40, 40], [200, 120, 40, 40]]
    assert resize_tf1(x, 4).tolist() == [[expected]]


@pytest.mark.parametrize("size", [8, 28, 32, 256, 400])
def test_it_is_what_a_shifted_sampling_grid_gives(size: int) -> None:
    images = torch.rand(1, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    place = (2 * torch.arange(299, dtype=torch.float64) * size / 299 + 1) / size - 1
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1)[None]
    expected = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    torch.testing.assert_close(resize_tf1(images, 299), expected, rtol=1e-10, atol=1e-10)


def test_it_is_neither_rule_of_torch() -> None:
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for corners in (False, True):
        other = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=corners)
        assert (resize_tf1(images, 299) - other).abs().max() > 0.01


def test_bytes_become_values_around_zero() -> None:
    images = torch.tensor([0, 1, 128, 255], dtype=torch.uint8).reshape(4, 1, 1, 1)
    found = network_input(images)
    assert (found.shape, found.dtype) == ((4, 3, 299, 299), torch.float32)
    assert found[:, :, 0, 0].tolist() == [[value] * 3 for value in (-1, -127 / 128, 0, 127 / 128)]
    colour = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert network_input(colour)[0, :, 298, 298].tolist() == [-1, 0, 127 / 128]


def test_nothing_is_rounded_between() -> None:
    images = torch.tensor([[0, 1]], dtype=torch.uint8).reshape(1, 1, 1, 2)
    assert len(network_input(images)[0, 0, 0].unique()) > 100
