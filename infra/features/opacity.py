"""Images with opacity as the extractors see them, none of which knows a fourth channel."""

import torch
from torch import Tensor


def over_white(images: Tensor) -> Tensor:
    """Composite uint8 images [n, 4, h, w] over white, to uint8 [n, 3, h, w], rounded; others stay as they are."""
    if images.shape[1] != 4:
        return images
    opacity = images[:, 3:].to(torch.int32)
    colours = images[:, :3].to(torch.int32) * opacity + 255 * (255 - opacity)
    return ((colours + 127) // 255).to(torch.uint8)
