"""clean-fid's figures in its three modes: `run_clean_fid.py WORK`, with TORCH_HOME as for pytorch-fid.

Two modes load NVIDIA's TorchScript file, which cannot be had here. An archive with the same interface takes its place:
clean-fid calls `archive(x, return_features=True)`, which resizes within, and `archive.layers(x)`. Its layers are those
of pytorch-fid. clean-fid looks for the file in /tmp. It is pointed to another folder, so that no file of random weights
is left where other programs would take it for the real one.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision_operators
from report import Report
from torch import Tensor, nn
from torch.nn import functional as F

torchvision_operators.declare()

import cleanfid.features  # noqa: E402
from cleanfid.fid import compute_fid, compute_kid  # noqa: E402
from cleanfid.inception_torchscript import InceptionV3W  # noqa: E402
from pytorch_fid.inception import InceptionV3  # noqa: E402

MODES = ("legacy_tensorflow", "legacy_pytorch", "clean")


class Archive(nn.Module):
    """The interface of NVIDIA's file: a resize by TensorFlow's rule through a sampling grid, a scale, the layers."""

    def __init__(self) -> None:
        super().__init__()
        blocks = InceptionV3(resize_input=False, normalize_input=False).eval().blocks
        example = torch.zeros(2, 3, 299, 299)
        self.layers = torch.jit.trace(nn.Sequential(*blocks, nn.Flatten()), example)

    def forward(self, x: Tensor, return_features: bool = True) -> Tensor:
        """Return the features of images of 0..255."""
        high, wide = x.shape[2:]
        theta = torch.eye(2, 3)
        theta[0, 2] += 1.0 / wide - 1.0 / 299
        theta[1, 2] += 1.0 / high - 1.0 / 299
        grid = F.affine_grid(theta[None].repeat(len(x), 1, 1), [len(x), 3, 299, 299], align_corners=False)
        resized = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return self.layers((resized - 128) / 128)


def main(work: Path) -> None:
    """Measure each collection; KID draws its subsets from NumPy's global stream, which is seeded before each."""
    torch.jit.script(Archive()).save(str(work / "inception-2015-12-05.pt"))

    def ours(_path: str, *, download: bool, resize_inside: bool) -> nn.Module:
        return InceptionV3W(str(work), download=not download, resize_inside=resize_inside)

    cleanfid.features.InceptionV3W = ours
    report = Report(work, "clean-fid")
    fixed = {"num_workers": 0, "batch_size": 8, "device": torch.device("cpu"), "verbose": False}
    for name, folder in report.collections():
        sides = (str(folder / "samples"), str(folder / "reference"))
        for mode in MODES:
            value = compute_fid(*sides, mode=mode, use_dataparallel=False, **fixed)
            report.add(name, "fid", value, "cleanfid.fid.compute_fid", {"mode": mode})
        if name == "small":
            np.random.seed(0)
            value = compute_kid(*sides, mode="clean", use_dataparallel=False, **fixed)
            report.add(name, "kid", value, "numpy.random.seed(0); cleanfid.fid.compute_kid", {"mode": "clean"})
    report.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
