"""The features of FD-DINOv2 as a kind of extractor."""

from typing import Any

from torch import Tensor

from infra.features.dinov2.network import DinoV2
from infra.features.dinov2.resize import MEAN, STD
from infra.features.dinov2.size import LARGE
from infra.features.dinov2.weights import PUBLISHED, REMEDY, read_weights
from infra.features.extractor import Extractor, ExtractorKind, only_features
from infra.features.weights_file import WeightsFile


def _open(weights: dict[str, Tensor], _shape: dict[str, Any]) -> Extractor:
    return only_features(DinoV2(weights))


DINOV2 = ExtractorKind(
    open=_open,
    file=WeightsFile(published=PUBLISHED, read=read_weights, remedy=REMEDY),
    packages=("numpy", "pillow"),  # of the resize
    rule=f"one channel repeated to 3; resized to {LARGE.side}x{LARGE.side} by Pillow's bicubic filter, antialiased; "
    f"rounded to 0..255; divided by 255; less ImageNet's means {MEAN}, over its deviations {STD}",
)
