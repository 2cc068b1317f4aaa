"""FD-DINOv2's features as a kind of extractor."""

import torch

from infra.features.dinov2.kind import DINOV2
from infra.features.dinov2.network import DinoV2
from infra.features.dinov2.size import LARGE
from infra.features.dinov2.weights import PUBLISHED


def test_it_takes_the_published_files_and_learns_nothing() -> None:
    assert DINOV2.fit is None
    assert DINOV2.file is not None
    assert DINOV2.file.published == PUBLISHED


def test_it_opens_the_large_network() -> None:
    opened = DINOV2.open({"cls_token": torch.zeros(1)}, {})
    assert isinstance(opened, DinoV2)
    assert opened._size == LARGE
