"""The features of FID as a kind of extractor."""

from typing import Any

from torch import Tensor

from infra.features.extractor import FEATURES, ClassScores, Extractor, ExtractorKind
from infra.features.inception.layers import SIDE
from infra.features.inception.network import SPATIAL, Inception
from infra.features.inception.weights import PUBLISHED, REMEDY, SCORES, read_weights
from infra.features.weights_file import WeightsFile


def _open(weights: dict[str, Tensor], _shape: dict[str, Any]) -> Extractor:
    return Inception(weights)


INCEPTION = ExtractorKind(
    open=_open,
    file=WeightsFile(published=PUBLISHED, read=read_weights, remedy=REMEDY),
    # The Inception score's original code multiplies pool_3 by this matrix and adds no bias, and so does every other.
    scores=ClassScores(weight=SCORES),
    layers=(FEATURES, SPATIAL),
    unit_chunks=2,  # the two layers of 2,048 images take 33 MB
    rule=f"resized to {SIDE}x{SIDE} by TF1's bilinear rule; not rounded; (x - 128) / 128; one channel repeated to 3",
)
