"""The size of images: squares are one number."""

import pytest
import torch

from ddpm_core.network.image_size import image_sides, image_size_of, size_text
from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig

SMALL = {"base_channels": 8, "channel_mults": (1, 2), "num_res_blocks": 1, "norm_groups": 4}


def test_squares_are_one_number() -> None:
    assert (image_size_of(8, 8), image_size_of(8, 16)) == (8, (8, 16))
    assert (image_sides(8), image_sides([8, 16])) == ((8, 8), (8, 16))
    assert (size_text(8), size_text((8, 16))) == ("8x8", "16x8")
    with pytest.raises(ValueError, match="unpack"):
        image_sides([8])


def test_a_pair_of_equal_numbers_is_the_same_config() -> None:
    assert UNetConfig(image_size=(32, 32)) == UNetConfig()
    assert UNetConfig(image_size=(16, 32)).image_shape == (3, 16, 32)


@pytest.mark.parametrize("size", [(8, 12), (12, 8)])
def test_attention_is_by_the_shorter_side(size: tuple[int, int]) -> None:
    config = UNetConfig(image_size=size, attention_resolutions=(4,), in_channels=4, **SMALL)
    assert config.resolutions == [8, 4]
    network = UNet(config, seed=0)
    assert network(torch.zeros((2, 4, *size)), torch.zeros(2, dtype=torch.int64)).shape == (2, 4, *size)
    with pytest.raises(ValueError, match=r"among the sizes \[8, 4\]; got \[6\]"):
        UNetConfig(image_size=size, attention_resolutions=(6,), **SMALL)


def test_both_sides_must_be_divisible() -> None:
    for size in ((8, 9), (9, 8)):
        with pytest.raises(ValueError, match="divisible by 2"):
            UNetConfig(image_size=size, attention_resolutions=(), **SMALL)
