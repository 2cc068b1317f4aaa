"""8-bit images to network inputs and back; no other module converts them."""

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor


def to_model_range(images: UInt8[Tensor, "b c h w"]) -> Float32[Tensor, "b c h w"]:
    """Map 0..255 to [-1, 1]: x / 127.5 - 1."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Map [-1, 1] to 0..255: clamp, then round (x + 1) * 127.5 to the nearest integer, ties to even.

    Raises:
        ValueError: If a value is not a number.
    """
    if bool(torch.isnan(images).any()):
        raise ValueError(f"cannot quantise images with {int(torch.isnan(images).sum())} values that are not a number")
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def flip_where(images: UInt8[Tensor, "b c h w"], flip: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c h w"]:
    """Mirror horizontally the images whose `flip` is 1."""
    return torch.where(flip.bool()[:, None, None, None], images.flip(-1), images)
