"""A network whose every layer counts, and images to train it on."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_core.loss_scale import LossScale
from ddpm_core.network.unet import UNet, UNetConfig
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import NoiseSchedule, linear_schedule
from ddpm_core.selftest.network import network_of_every_layer
from ddpm_core.train_step import StepConfig, StepResult, train_step
from ddpm_core.training_order import training_noise

SHAPE = (3, 16, 16)
# Wide enough that a GPU takes the kernels that it takes for large networks.
CONFIG = UNetConfig(
    image_size=16,
    base_channels=64,
    channel_mults=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(8,),
    norm_groups=8,
    dropout=0.0,
)
SCHEDULE = linear_schedule()


def network() -> UNet:
    """The self-test's weights at this size."""
    return network_of_every_layer(CONFIG)


def images(first: int, count: int) -> Tensor:
    """Grey levels from the counter, uint8 [count, 3, 16, 16]."""
    drawn = words(1, Stream.X_T, torch.arange(first, first + count), math.prod(SHAPE))
    return (drawn & 255).to(torch.uint8).reshape(-1, *SHAPE)


Step = Callable[..., StepResult]


def step_on(device: torch.device, first: int, count: int, dtype: torch.dtype = torch.float32) -> Step:
    """A training step on `count` slots from `first`; its inputs are on the device before it is called.

    It takes a network, an optimiser, a schedule, and the scale of the loss if there is one.
    """
    slots = torch.arange(first, first + count, device=device)
    noise = training_noise(0, slots, SCHEDULE.num_timesteps, SHAPE)
    config = StepConfig(global_batch_size=count, autocast_dtype=dtype, random_flip=True)
    batch = images(first, count).to(device)

    def step(
        net: UNet, optimizer: torch.optim.Optimizer, schedule: NoiseSchedule, loss_scale: LossScale | None = None
    ) -> StepResult:
        return train_step(net, optimizer, schedule, batch, noise, config, loss_scale=loss_scale)

    return step
