"""The input of FID's Inception network, by the rule of the TensorFlow graph: TF1's bilinear resize, then a scale."""

import torch
from torch import Tensor

from infra.features.inception.layers import SIDE


def network_input(images: Tensor) -> Tensor:
    """Return uint8 images [n, c, h, w] as the network takes them: float32 [n, 3, 299, 299] in [-1, 1).

    They are resized, then (x - 128) / 128; one channel is repeated to three. No value is rounded.
    """
    resized = resize_tf1(images.to(torch.float32), SIDE)
    return ((resized - 128) / 128).expand(-1, 3, -1, -1)


def resize_tf1(x: Tensor, side: int) -> Tensor:
    """Resize images [n, c, h, w] to side x side as TF1's `resize_bilinear` does by default.

    Pixel i comes from place i * size / side: corners are not aligned, pixel centres are not half a pixel off, and a
    smaller image is made without antialiasing. The neighbour beyond the edge is the edge. Rows are interpolated along
    the width first.

    Places are rounded as x is. TensorFlow computes them in float32, which moves pixel 298 of a large image by up to
    4e-5 of a pixel. Exact places change the features of an image 401 pixels wide by 3e-4 (random weights).
    """
    before, after, weight = _neighbours(x.shape[-1], side, x)
    x = x[..., before] + (x[..., after] - x[..., before]) * weight
    before, after, weight = _neighbours(x.shape[-2], side, x)
    return x[..., before, :] + (x[..., after, :] - x[..., before, :]) * weight[:, None]


def _neighbours(size: int, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, per target pixel, the source pixels before and after its place and the weight of the second."""
    # torch.tensor would make a GPU wait for its copy.
    scale = torch.full((), size, dtype=like.dtype, device=like.device) / side
    place = torch.arange(side, dtype=like.dtype, device=like.device) * scale
    before = place.floor()
    rows = before.to(torch.int64)
    return rows, (rows + 1).clamp(max=size - 1), place - before
