"""The pixels themselves as features, averaged down to at most 16x16."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from infra.features.extractor import Extractor, ExtractorKind, only_features

_SIDE = 16


def averaged_pixels(images: Tensor) -> Tensor:
    """Scale uint8 images [n, c, h, w] to [0, 1] and average them down to float32 [n, c * side * side], side <= 16."""
    side = min(_SIDE, *images.shape[-2:])
    return F.adaptive_avg_pool2d(images.to(torch.float32) / 255, side).flatten(1)


def _open(_weights: dict[str, Tensor], _shape: dict[str, Any]) -> Extractor:
    return only_features(averaged_pixels)


PIXELS = ExtractorKind(open=_open, rule=f"divided by 255; averaged down to at most {_SIDE}x{_SIDE}; not rounded")
