"""The features of FID and sFID: uint8 images to two layers of the Inception network, in float32."""

from collections.abc import Iterator, Mapping
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from infra.compute.device import exact_float32
from infra.compute.transfer import to_device
from infra.features.extractor import FEATURES
from infra.features.inception.layers import (
    LAYERS,
    SPATIAL_CHANNELS,
    SPATIAL_LAYER,
    Conv,
    Fork,
    Layer,
    Pool,
    Step,
)
from infra.features.inception.resize import network_input

# The same on every device and for every number of images, so that features differ by rounding at most; it takes some
# 300 MB.
BATCH = 16
SPATIAL = "spatial"
_EPSILON = 1e-3


class Inception:
    """The network of the table in `layers`.

    Args:
        weights: Of each convolution `<name>.conv.weight` and `<name>.bn.weight`, `bias`, `running_mean` and
            `running_var`; all on the device to compute on, in the type to compute in.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return two layers of uint8 images [n, c, h, w], c 1 or 3, in float32 on the weights' device.

        Returns:
            `features` [n, 2048]: pool_3, on which FID rests. `spatial` [n, 2023]: the first 7 channels at the 17x17
            places of the layer mixed_6/conv, on which sFID rests (Nash et al. 2021).
        """
        device = next(iter(self._weights.values())).device
        with torch.no_grad(), exact_float32():
            parts = [self.layers(network_input(to_device(part, device))) for part in images.split(BATCH)]
        return {name: torch.cat([part[name] for part in parts]) for name in (FEATURES, SPATIAL)}

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Return the mean over all pixels of the last layer, and the layer of sFID, of the input [n, 3, h, w]."""
        found = {}
        for name, output in self.outputs(x):
            x = output
            if name == SPATIAL_LAYER:
                found[SPATIAL] = x[:, :SPATIAL_CHANNELS].flatten(1)
        return found | {FEATURES: x.mean((2, 3))}

    def outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output of each layer."""
        for layer in LAYERS:
            x = self._apply(layer.step, x, layer)
            yield layer.name, x

    def _apply(self, step: Step, x: Tensor, layer: Layer) -> Tensor:
        match step:
            case Conv():
                return self._convolve(step, x, ".".join(filter(None, (layer.name, step.name))))
            case Fork(branches=branches):
                return torch.cat([self._chain(branch, x, layer) for branch in branches], 1)
            case Pool.AVERAGE:
                return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            case Pool.LARGEST:
                return F.max_pool2d(x, 3, stride=1, padding=1)
            case Pool.REDUCE:
                return F.max_pool2d(x, 3, stride=2)
            case unknown:
                assert_never(unknown)

    def _chain(self, steps: tuple[Step, ...], x: Tensor, layer: Layer) -> Tensor:
        for step in steps:
            x = self._apply(step, x, layer)
        return x

    def _convolve(self, conv: Conv, x: Tensor, name: str) -> Tensor:
        weights = self._weights
        x = F.conv2d(x, weights[f"{name}.conv.weight"], stride=conv.stride, padding=conv.padding)
        mean, variance, scale, shift = (
            weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, eps=_EPSILON), inplace=True)
