"""The features of FID as a kind of extractor."""

from typing import Any

from torch import Tensor

from infra.features.extractor import Extractor, ExtractorKind
from infra.features.inception.network import Inception
from infra.features.inception.weights import PUBLISHED, REMEDY, read_weights
from infra.features.weights_file import WeightsFile


def _open(weights: dict[str, Tensor], _shape: dict[str, Any]) -> Extractor:
    return Inception(weights)


# The two layers of 2,048 images take 33 MB.
INCEPTION = ExtractorKind(
    open=_open, file=WeightsFile(published=PUBLISHED, read=read_weights, remedy=REMEDY), unit_chunks=2
)
