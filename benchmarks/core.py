"""Forward and train step at the CIFAR-10 setting beside diffusers' network and usual loop, in one run.

`python benchmarks/core.py [--batch 8] [--repeats 5] [--dtype float32]
[--device cpu]`: the two take turns; medians of
the times, and of the ratios of neighbours with their quartiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.nn import functional

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from ddpm_core.rng import Stream, normal
from ddpm_core.schedule import linear_schedule
from ddpm_core.train_step import StepConfig, train_step
from ddpm_core.training_order import training_noise

SHAPE = (3, 32, 32)


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


def ours(device: torch.device, dtype: torch.dtype, batch: int) -> dict[str, Callable[[], object]]:
    """Our forward pass, train step and noise."""
    schedule = linear_schedule().to(device)
    network = UNet(UNetConfig.cifar10(), seed=0).to(device, memory_format=torch.channels_last)
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


def cast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in this dtype."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's queue emptied before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    mine, other = ours(device, dtype, options.batch), theirs(device, dtype, options.batch)
    taken: dict[str, float] = {}
    for name, call in mine.items():
        pair: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.repeats + 1):
            for times, function in zip(pair, (call, other.get(name)), strict=True):
                if function is not None:
                    spent = seconds(function, device)
                    if turn:  # the first is warm-up
                        times.append(spent)
        taken[name] = statistics.median(pair[0])
        if name in other:
            median = statistics.median(pair[1])
            low, ratio, high = statistics.quantiles([b / a for a, b in zip(*pair, strict=True)], method="inclusive")
            spread = f"ratio {ratio:.2f} ({low:.2f} to {high:.2f})"
            print(f"{name}: ours {taken[name]:.3f} s, diffusers {median:.3f} s, {spread}")
    print(
        f"noise of one step: {taken['noise'] * 1e3:.1f} ms, {taken['noise'] / taken['forward']:.1%} of a forward pass"
    )


if __name__ == "__main__":
    main()
