"""The batch of sampling that fits a device."""

import torch

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from infra.compute.footprint import peak_bytes

# Of the device's memory; the rest is for the kernels' workspaces, the noise, and what torch keeps for later.
_SHARE = 0.5
# An H200 draws 1.5 % more images per second with twice as many (benchmarks/h200.md).
LARGEST = 1024
# For a CPU, whose rate does not grow with the batch.
USUAL = 64


def fitting_batch(config: UNetConfig, memory: int, *, guided: bool = False) -> int:
    """Return the number of images to draw at a time: the largest power of two that fits, at most 1024.

    It fits if weights and the tensors of a forward pass in float32 take at most half of the memory. So it depends on
    the network and the kind of device alone, never on what else the device holds.

    Args:
        config: The network's shape.
        memory: The GPU's whole memory in bytes.
        guided: Whether each image takes two calls at once, with its label and without.
    """
    meta = torch.device("meta")
    with meta:
        network = UNet(config, seed=None).eval().requires_grad_(False)
        x_t = torch.empty(2 if guided else 1, *config.image_shape)
        t = torch.zeros(len(x_t), dtype=torch.int64)
    labels = [t] if config.num_classes else []
    with torch.no_grad():
        per_image = peak_bytes(lambda: network(x_t, t, *labels))
    weights = sum(weight.nbytes for weight in network.parameters())
    room = max(int((_SHARE * memory - weights) // per_image), 1)
    return int(min(1 << (room.bit_length() - 1), LARGEST))
