import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from ddpm_core.network.unet_config import UNetConfig


def test_the_defaults_are_hos_for_cifar10():
    """recipe.md 1.1: run_cifar.py."""
    assert UNetConfig.cifar10() == UNetConfig(
        image_size=32,
        in_channels=3,
        base_channels=128,
        channel_mults=(1, 2, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        norm_groups=32,
        dropout=0.1,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"image_size": 28, "channel_mults": (1, 2, 2), "attention_resolutions": (14, 7)},
        {"image_size": 7, "channel_mults": (1,), "attention_resolutions": ()},
        {"base_channels": 4, "norm_groups": 4},
        {"dropout": 0.0},
    ],
)
def test_other_shapes_that_fit_are_allowed(more):
    UNetConfig(**more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channel_mults": ()}, r"channel_mults must hold whole numbers above 0; got \(\)"),
        ({"channel_mults": (1, 0)}, r"channel_mults must hold whole numbers above 0; got \(1, 0\)"),
        ({"channel_mults": (-1,)}, r"channel_mults must hold whole numbers above 0; got \(-1,\)"),
        ({"image_size": 0}, "image_size must be at least 1; got 0"),
        ({"image_size": -32}, "image_size must be at least 1; got -32"),
        ({"in_channels": 0}, "in_channels must be at least 1; got 0"),
        ({"num_res_blocks": 0}, "num_res_blocks must be at least 1; got 0"),
        ({"norm_groups": 0}, "norm_groups must be at least 1; got 0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\); got -0\.1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\); got 1\.0"),
        ({"dropout": float("nan")}, r"dropout must lie in \[0, 1\); got nan"),
        ({"image_size": 28}, "image_size must be divisible by 8 for 4 levels; got 28: choose fewer channel_mults"),
        ({"attention_resolutions": (16, 15)}, r"must be among the sizes \[32, 16, 8, 4\]; got \[15\]"),
        ({"attention_resolutions": (64, 2)}, r"must be among the sizes \[32, 16, 8, 4\]; got \[2, 64\]"),
        ({"base_channels": 2, "norm_groups": 1}, "base_channels must be even and at least 4; got 2"),
        ({"base_channels": 33, "norm_groups": 1}, "base_channels must be even and at least 4; got 33"),
        ({"base_channels": 48}, "norm_groups must divide base_channels; got 32 and 48"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**more)


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        UNetConfig().dropout = 0.5


def test_a_config_is_checked_without_torch():
    code = "import sys, ddpm_core.network.unet_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
