"""The features of FD-DINOv2: uint8 images to the class token after the last norm, in float32."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from infra.compute.device import exact_float32
from infra.features.dinov2.resize import network_input
from infra.features.dinov2.size import LARGE, Size

# The same on every device and for every number of images, so that features differ by rounding at most.
BATCH = 16
_EPSILON = 1e-6
# DINOv2's own code adds it to the number of tokens, and its networks without registers are used with it.
_OFFSET = 0.1


class DinoV2:
    """A vision transformer as DINOv2 has it (Oquab et al. 2023): pre-norm blocks with a scale for each branch.

    Args:
        weights: Named as in `weights.weight_shapes`; all on the device to compute on, in the type to compute in.
        size: Of the network.
    """

    def __init__(self, weights: Mapping[str, Tensor], size: Size = LARGE) -> None:
        self._weights = weights
        self._size = size

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features, float32 [n, width] on the weights' device, of uint8 images [n, c, h, w], c 1 or 3."""
        device = self._weights["cls_token"].device
        with torch.no_grad(), exact_float32():
            parts = [
                self.class_token(network_input(part, self._size.side, device)) for part in images.cpu().split(BATCH)
            ]
        return torch.cat(parts)

    def class_token(self, x: Tensor) -> Tensor:
        """Return the class token after the last norm, [n, width], of the network's input [n, 3, side, side]."""
        for _, output in self.outputs(x):
            x = output
        return x[:, 0]

    def outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output of each layer, [n, 1 + grid^2, width]; the class token is the first."""
        x = self._embed(x)
        yield "embeddings", x
        for number in range(self._size.depth):
            name = f"blocks.{number}"
            x = x + self._attend(self._norm(x, f"{name}.norm1"), f"{name}.attn") * self._weights[f"{name}.ls1.gamma"]
            hidden = F.gelu(self._dense(self._norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
            x = x + self._dense(hidden, f"{name}.mlp.fc2") * self._weights[f"{name}.ls2.gamma"]
            yield name, x
        yield "norm", self._norm(x, "norm")

    @cached_property
    def positions(self) -> Tensor:
        """The position embeddings of the input's grid, [1, 1 + grid^2, width], by a bicubic resize of the trained ones.

        The place of target token i is (i + 1/2) * trained_grid / (grid + 0.1) - 1/2: the original code passes a scale
        with an offset of 0.1, and the resize goes by this scale, not by the two sizes. Nothing is antialiased.
        """
        weights, size = self._weights["pos_embed"], self._size
        if size.grid == size.trained_grid:
            return weights
        trained = weights[:, 1:].unflatten(1, (size.trained_grid, size.trained_grid)).permute(0, 3, 1, 2)
        scale = (size.grid + _OFFSET) / size.trained_grid
        resized = F.interpolate(trained, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([weights[:, :1], resized.flatten(2).transpose(1, 2)], 1)

    def _embed(self, x: Tensor) -> Tensor:
        weights = self._weights
        patches = F.conv2d(
            x, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=self._size.patch
        )
        tokens = patches.flatten(2).transpose(1, 2)
        return torch.cat([weights["cls_token"].expand(len(x), -1, -1), tokens], 1) + self.positions

    def _attend(self, x: Tensor, name: str) -> Tensor:
        """Attention, softmax(q k^T / sqrt(d)) v in every head, and a dense layer."""
        joint = self._dense(x, f"{name}.qkv").unflatten(2, (3, self._size.heads, -1))
        q, k, v = joint.permute(2, 0, 3, 1, 4)  # each [n, heads, tokens, d]
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self._dense((weights @ v).transpose(1, 2).flatten(2), f"{name}.proj")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale, shift = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, scale.shape, scale, shift, _EPSILON)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
