"""The numbers of ViT-L/14 against what DINOv2's own code builds."""

import json
from pathlib import Path

from infra.features.dinov2.size import LARGE, Size

RECORDED = json.loads((Path(__file__).parents[3] / "parity" / "dinov2.json").read_text())


def test_the_large_network_is_that_of_the_original_code() -> None:
    found = RECORDED["dinov2"]["large"]
    assert (LARGE.depth, LARGE.heads) == (found["depth"], found["heads"])
    assert (LARGE.grid, LARGE.trained_grid) == (16, 37)  # 224 and 518 pixels in patches of 14
    assert LARGE.hidden == 4096


def test_a_grid_counts_whole_patches() -> None:
    size = Size(depth=1, width=8, heads=1, patch=4, side=12, trained_side=20)
    assert (size.grid, size.trained_grid, size.hidden) == (3, 5, 32)
