"""Random weights for FID's Inception network: the same bits on every machine, and features that differ by image.

They are drawn as integers, from a stream that NumPy has frozen, and every sum is one of integers. Each kernel sums to 0
over its inputs: otherwise the mean of the ReLU's outputs, which all images share, would grow from layer to layer until
all images had the same features (Brock et al. 2021, "Characterizing signal propagation").
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.features.inception.layers import CLASSES, FEATURE_DIM, convolutions

SEED = 20151205
# The standard deviation of max(z, 0) for a normal z, by which each layer would shrink its input.
_RELU = ((1 - 1 / np.pi) / 2) ** 0.5
_UNIFORM = 2 / 12**0.5  # the standard deviation of the draws in [-1, 1)
_LOGITS = 20.0  # the gain of the last layer, with which the Inception score lies well above 1


def parity_weights() -> dict[str, Tensor]:
    """Return the 94 convolutions with their batch norms, and the layer for 1008 classes; float32, pytorch-fid's names.

    The weights of all batch norms are 1, since NVIDIA's file has none.
    """
    stream = np.random.RandomState(SEED)
    weights = {}
    for one in convolutions():
        channels = one.conv.channels
        kernels = _kernels(stream, (channels, one.inputs, *one.conv.kernel))
        bias, mean = (0.1 * _draw(stream, (channels,)) for _ in range(2))
        variance = 1 + 0.5 * _draw(stream, (channels,))
        # The kernels undo the division by the norm's variance, so that the scale of the input is kept.
        weights[f"{one.name}.conv.weight"] = _float32(kernels * (variance + 0.001)[:, None, None, None] ** 0.5)
        norm = {"weight": np.ones(channels), "bias": bias, "running_mean": mean, "running_var": variance}
        weights |= {f"{one.name}.bn.{part}": _float32(values) for part, values in norm.items()}
    weights["fc.weight"] = _float32(_LOGITS * _kernels(stream, (CLASSES, FEATURE_DIM, 1, 1))[:, :, 0, 0])
    weights["fc.bias"] = _float32(_draw(stream, (CLASSES,)))
    return weights


def _draw(stream: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform draws in [-1, 1), multiples of 2^-15."""
    return stream.randint(-(1 << 15), 1 << 15, size=shape, dtype=np.int64) / (1 << 15)


def _kernels(stream: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Kernels that sum to 0 and keep the scale of what passes them and a ReLU."""
    drawn = stream.randint(-(1 << 15), 1 << 15, size=shape, dtype=np.int64)
    inputs = int(np.prod(shape[1:]))
    centred = drawn - drawn.sum((1, 2, 3), keepdims=True) / inputs  # sums of integers do not depend on their order
    return centred / (1 << 15) / (_UNIFORM * _RELU * inputs**0.5)


def _float32(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {list(tensor.shape)}\n".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def with_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the 566 entries of the published state dict: the weights and a counter for each batch norm."""
    norms = [name.removesuffix("weight") for name in weights if name.endswith("bn.weight")]
    return dict(weights) | {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}
