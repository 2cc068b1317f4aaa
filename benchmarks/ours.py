"""Our forward pass, train step and noise on images of 32x32x3, as `core.py` and the GPU's figures time them."""

from collections.abc import Callable

import torch

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from ddpm_core.rng import Stream, normal
from ddpm_core.schedule import linear_schedule
from ddpm_core.train_step import StepConfig, train_step
from ddpm_core.training_order import training_noise

SHAPE = (3, 32, 32)
# 35,746,307 and 1,113,955 parameters. The small one spends a larger share of a step outside its convolutions.
NETWORKS = {
    "cifar10": UNetConfig.cifar10(),
    "small": UNetConfig(base_channels=32, channel_mults=(1, 2, 2), num_res_blocks=1, norm_groups=8),
}


def cast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in this dtype."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def ours(
    device: torch.device, dtype: torch.dtype, batch: int, network: UNet | None = None
) -> dict[str, Callable[[], object]]:
    """Our forward pass, train step and noise; the network is Ho's unless another one of images of 32x32x3 is passed."""
    schedule = linear_schedule().to(device)
    network = UNet(UNetConfig.cifar10(), seed=0) if network is None else network
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, fused=True)
    images = torch.randint(0, 256, (batch, *SHAPE), dtype=torch.uint8, device=device)
    slots = torch.arange(batch, device=device)
    x_t, t = torch.randn(batch, *SHAPE, device=device), torch.randint(0, 1000, (batch,), device=device)

    def step() -> None:
        network.train()
        noise = training_noise(0, slots, 1000, SHAPE)
        train_step(
            network, optimizer, schedule, images, noise, StepConfig(global_batch_size=batch, autocast_dtype=dtype)
        )

    def forward() -> None:
        network.eval()
        with torch.inference_mode(), cast(device, dtype):
            network(x_t, t)

    return {"forward": forward, "train step": step, "noise": lambda: normal(0, Stream.Z_T, slots, SHAPE, step=1)}
