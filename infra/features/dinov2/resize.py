"""The input of FD-DINOv2's network, by the rule of dgm-eval: Pillow's bicubic resize, then the scale of ImageNet."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infra.compute.transfer import to_device

# The means and standard deviations of ImageNet's red, green and blue, of values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def network_input(images: Tensor, side: int, device: torch.device) -> Tensor:
    """Return uint8 images [n, c, h, w] on the CPU as the network takes them: float32 [n, 3, side, side] on a device.

    Each is resized to side x side, whatever its shape, rounded to 0..255, divided by 255, and scaled with ImageNet's
    mean and standard deviation. One channel is repeated to three.
    """
    resized = torch.stack([resize_bicubic(image, side) for image in images])
    mean, std = (to_device(torch.tensor(values)[:, None, None], device) for values in (MEAN, STD))
    return (to_device(resized, device).to(torch.float32) / 255 - mean) / std


def resize_bicubic(image: Tensor, side: int) -> Tensor:
    """Resize a uint8 image [c, h, w], c 1 or 3, to [c, side, side] as Pillow does: antialiased, rounded, clipped."""
    planes = [
        np.array(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)) for plane in image.numpy()
    ]
    return torch.from_numpy(np.stack(planes))
