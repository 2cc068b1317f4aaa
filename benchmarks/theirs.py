"""The same by diffusers: its network and the loop of its unconditional training example."""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.nn import functional

from benchmarks.ours import NETWORKS, SHAPE, cast
from ddpm_core.network.unet_config import UNetConfig


def diffusers_network(config: UNetConfig = NETWORKS["cifar10"]) -> UNet2DModel:
    """The same layout, with the same number of parameters."""
    attends = [size in config.attention_resolutions for size in config.resolutions]
    return UNet2DModel(
        sample_size=config.image_size,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        layers_per_block=config.num_res_blocks,
        block_out_channels=tuple(config.base_channels * mult for mult in config.channel_mults),
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        norm_num_groups=config.norm_groups,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        dropout=config.dropout,
    )


def theirs(
    device: torch.device, dtype: torch.dtype, batch: int, config: UNetConfig = NETWORKS["cifar10"]
) -> dict[str, Callable[[], object]]:
    """The network of diffusers in the loop of its unconditional training example."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    network = diffusers_network(config).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.rand(batch, *SHAPE, device=device) * 2 - 1
    x_t, t = torch.randn(batch, *SHAPE, device=device), torch.randint(0, 1000, (batch,), device=device)

    def step() -> None:
        network.train()
        noise = torch.randn_like(images)
        steps = torch.randint(0, 1000, (batch,), device=device)
        with cast(device, dtype):
            predicted = network(scheduler.add_noise(images, noise, steps), steps).sample
        functional.mse_loss(predicted.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def forward() -> None:
        network.eval()
        with torch.inference_mode(), cast(device, dtype):
            network(x_t, t)

    return {"forward": forward, "train step": step}
