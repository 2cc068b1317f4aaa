"""Floating-point operations of the network per image, counted by torch without computing anything."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.bench import Bench
from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig


def flops(bench: Bench) -> None:
    """Count a forward pass and a train step; the latter's noise, loss, optimiser and EMA have no matrix products."""
    forward, train = count(bench.setting.config)
    bench.flops |= {"forward": forward, "train": train}
    bench.row("forward pass of one image", gflop=forward / 1e9)
    bench.row("train step of one image", gflop=train / 1e9, of_the_forward_pass=train / forward)


def count(config: UNetConfig) -> tuple[float, float]:
    """The operations, two per multiply-add, of a forward pass and of one with its gradients."""
    meta = torch.device("meta")
    with meta:
        network = UNet(config, seed=None)
    x_t = torch.empty(1, *config.image_shape, device=meta)
    t = torch.zeros(1, dtype=torch.int64, device=meta)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        network(x_t, t)
    with FlopCounterMode(display=False) as both:
        network(x_t, t).sum().backward()
    return float(forward.get_total_flops()), float(both.get_total_flops())
