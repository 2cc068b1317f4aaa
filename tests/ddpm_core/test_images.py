import numpy as np
import pytest
import torch

from ddpm_core.images import flip_where, to_model_range, to_uint8

ALL_VALUES = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def as_images(values: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(values).to(dtype).reshape(1, 1, 1, -1)


def test_every_value_comes_back():
    assert torch.equal(to_uint8(to_model_range(ALL_VALUES)), ALL_VALUES)


def test_the_range_is_minus_1_to_1_in_equal_steps():
    found = to_model_range(ALL_VALUES).flatten().double().numpy()
    np.testing.assert_allclose(found, np.linspace(-1, 1, 256), atol=1e-7)
    assert (found[0], found[-1]) == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_round_to_the_nearest(dtype):
    """Up to 0.4999 of a step away from a grid point, the grid point it is: truncation would fail on half of them."""
    grid = np.arange(256)
    for offset in (-0.499, -0.1, 0.1, 0.499):
        assert torch.equal(to_uint8(as_images((grid + offset) / 127.5 - 1, dtype)).flatten(), ALL_VALUES.flatten())


def test_ties_round_to_even():
    values = (np.arange(255) + 0.5) / 127.5 - 1
    ties = values[(values + 1) * 127.5 % 1 == 0.5]
    assert len(ties) > 100
    found = to_uint8(as_images(ties)).flatten().numpy()
    assert np.array_equal(found, np.rint((ties + 1) * 127.5))
    assert (found % 2 == 0).all()


def test_grey_0_is_128():
    assert int(to_uint8(torch.zeros(1, 1, 1, 1))) == 128  # 127.5, the tie that every float type can hold


@pytest.mark.parametrize(("value", "expected"), [(-1.5, 0), (1.5, 255), (-np.inf, 0), (np.inf, 255)])
def test_values_beyond_the_range_are_held_at_its_ends(value, expected):
    assert int(to_uint8(torch.full((1, 1, 1, 1), value))) == expected


def test_values_that_are_not_a_number_are_refused():
    images = torch.zeros(2, 1, 2, 2)
    images[0, 0, 0, 0] = images[1, 0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="cannot quantise images with 2 values that are not a number"):
        to_uint8(images)


def test_only_the_named_images_are_mirrored():
    images = torch.arange(12, dtype=torch.uint8).reshape(2, 1, 2, 3)
    found = flip_where(images, torch.tensor([0, 1]))
    assert torch.equal(found[0], images[0])
    assert found[1].tolist() == [[[8, 7, 6], [11, 10, 9]]]
    assert torch.equal(flip_where(found, torch.tensor([0, 1])), images)
