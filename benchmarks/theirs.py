"""The same by diffusers: its network and the loop of its unconditional training example."""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.nn import functional

from benchmarks.ours import SHAPE, cast


def diffusers_network() -> UNet2DModel:
    """The same layout: 35,746,307 parameters."""
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        dropout=0.1,
    )


def theirs(device: torch.device, dtype: torch.dtype, batch: int) -> dict[str, Callable[[], object]]:
    """The network of diffusers in the loop of its unconditional training example."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    network = diffusers_network().to(device)
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
