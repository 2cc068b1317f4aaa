"""Lets torchvision be imported beside any torch: pytorch-fid and clean-fid build their network from its blocks.

Its wheels are compiled for one build of torch. Beside another its operators are missing, and `import torchvision` fails
as it describes two of them. These two are declared here, without code: no network of this folder calls them.
"""

from importlib.util import find_spec
from pathlib import Path

import torch


def declare() -> None:
    """Load torchvision's operators if this torch can; else declare the two that its import needs."""
    package = find_spec("torchvision")
    assert package is not None
    assert package.submodule_search_locations
    for library in Path(package.submodule_search_locations[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            break
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
