"""How each program turns bytes into the network's input, so that ours can follow its rule on our network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from infra.features.inception.layers import SIDE
from infra.features.inception.resize import network_input, resize_tf1

_BY_128 = "(x − 128) / 128"
_BY_127 = "(x − 127.5) / 127.5"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A way to the network's input.

    Attributes:
        resize: Names it in the documentation, as do `places` and `scale`.
        places: Rounding of the places between pixels, and of the values there.
        scale: From 0..255 to the network's range.
        graph: Whether it is that of TensorFlow's graph up to rounding.
        prepare: uint8 images [n, c, h, w] -> float32 [n, 3, 299, 299].
    """

    resize: str
    places: str
    scale: str
    prepare: Callable[[Tensor], Tensor]
    graph: bool = False


def _exact_places(images: Tensor) -> Tensor:
    resized = resize_tf1(images.double(), SIDE).float()
    return ((resized - 128) / 128).expand(-1, 3, -1, -1)


def _half_pixels(images: Tensor) -> Tensor:
    resized = F.interpolate(images.float() / 255, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2 * resized - 1).expand(-1, 3, -1, -1)


def _bicubic(images: Tensor) -> Tensor:
    """Pillow's bicubic filter, which widens for smaller results, on each channel in float32, cut off at 0 and 255."""
    planes = images.flatten(0, 1).numpy().astype(np.float32)
    resized = [Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for plane in planes]
    values = torch.from_numpy(np.stack([np.asarray(plane) for plane in resized]).clip(0, 255))
    return ((values.reshape(*images.shape[:2], SIDE, SIDE) - 128) / 128).expand(-1, 3, -1, -1)


TENSORFLOW = Rule(
    resize="bilinear from place i · size / 299, as TensorFlow's graph",
    places="places in float32, values not",
    scale=_BY_128,
    prepare=network_input,
    graph=True,
)
GRID = Rule(
    resize="the same, through a sampling grid",
    places="places nearly exact, values not",
    scale=_BY_128,
    prepare=_exact_places,
    graph=True,
)
HALF_PIXELS = Rule(
    resize="bilinear from place (i + ½) · size / 299 − ½, no antialiasing",
    places="values not",
    scale=_BY_127,
    prepare=_half_pixels,
)
BICUBIC = Rule(
    resize="Pillow's bicubic filter with antialiasing",
    places="values not, but cut off at 0 and 255",
    scale=_BY_128,
    prepare=_bicubic,
)

# By the program and its mode. prdc takes features; it gets those of torch-fidelity.
RULES: Mapping[tuple[str, str], Rule] = MappingProxyType(
    {
        ("torch-fidelity", ""): TENSORFLOW,
        ("prdc", ""): TENSORFLOW,
        ("clean-fid", "legacy_tensorflow"): GRID,
        ("pytorch-fid", ""): HALF_PIXELS,
        ("clean-fid", "legacy_pytorch"): HALF_PIXELS,
        ("clean-fid", "clean"): BICUBIC,
    }
)
