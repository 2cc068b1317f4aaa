"""The network of a training run, compiled before its first step."""

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet
from infra.compute.compilation import compile_network
from infra.compute.device import repeatable_gradients


def compile_for_training(
    network: UNet, images: int, device: torch.device, autocast_dtype: torch.dtype, *, deterministic: bool = True
) -> None:
    """Compile forward and backward pass in place for steps of this shape; weights and gradients stay as they are.

    Args:
        network: On its device.
        images: Images per forward pass of this worker.
        device: The network's device.
        autocast_dtype: dtype of matrix products; float32 turns autocast off.
        deterministic: Whether the steps are to give equal bits each time.

    Raises:
        ResourceError: If there is no C++ compiler, or it fails.
    """
    shape = network.config
    x_t = torch.zeros((images, *shape.image_shape), device=device)
    t = torch.zeros(images, dtype=torch.int64, device=device)
    labels = [torch.zeros_like(t)] if shape.num_classes else []

    def step() -> None:
        autocast = autocast_dtype != torch.float32
        # The modes are those of `train_step`: compiled code is for one set of them.
        with torch.autocast(device.type, dtype=autocast_dtype if autocast else None, enabled=autocast):
            output: Tensor = network(x_t, t, *labels)
        output.float().square().sum().backward()
        network.zero_grad(set_to_none=True)

    network.train()
    with repeatable_gradients(device.type, wanted=deterministic):
        compile_network(network, step)
