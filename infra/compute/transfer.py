"""Copies from the host's memory to the device that nobody waits for, and the room that is there."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; the copy is queued there, and the host goes on.

    A GPU reads pinned memory by itself. From other memory the host has to bring the bytes first, non-blocking or not.

    Args:
        tensor: On the host, or on the device already.
        device: The device.
    """
    if not tensor.is_cpu or device.type == "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU in bytes; 0 for another device, which has none of its own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
