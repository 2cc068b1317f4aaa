"""A small network on the stand-in device, and the noise of its images."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from ddpm_core.rng import Stream, normal
from tests.standin.device import DEVICE

CONFIG = UNetConfig(
    image_size=8,
    base_channels=8,
    channel_mults=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    norm_groups=4,
    dropout=0.1,
)
SHAPE = (3, 8, 8)
BATCH = 4


def network(**changes: object) -> UNet:
    """A network of every kind of layer."""
    with DEVICE:
        return UNet(replace(CONFIG, **changes), seed=None)


def images() -> Tensor:
    """A batch as training holds it."""
    return torch.zeros(BATCH, *SHAPE, dtype=torch.uint8, device=DEVICE)


def ids() -> Tensor:
    """Numbers of images."""
    return torch.arange(BATCH, device=DEVICE)


def noise(stream: Stream) -> Callable[[int], Tensor]:
    """The product's own draws, made on the device."""
    numbers = ids()
    return lambda step: normal(0, stream, numbers, SHAPE, step=step)
