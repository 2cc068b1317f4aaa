"""pytorch-fid's figures: `run_pytorch_fid.py WORK`, with TORCH_HOME set to a folder that holds the weights.

It also reads our statistics of a reference, `WORK/ours.npz`, and leaves its own in `WORK/theirs.npz`.
"""

import sys
from pathlib import Path

import torchvision_operators
from report import Report

torchvision_operators.declare()

from pytorch_fid.fid_score import calculate_fid_given_paths, save_fid_stats  # noqa: E402

CALL = "pytorch_fid.fid_score.calculate_fid_given_paths"


def main(work: Path) -> None:
    """Measure each collection."""
    report = Report(work, "pytorch-fid")
    options = {"batch_size": 8, "device": "cpu", "dims": 2048, "num_workers": 0}
    for name, folder in report.collections():
        value = calculate_fid_given_paths([str(folder / "samples"), str(folder / "reference")], **options)
        report.add(name, "fid", value, CALL, options)
        if name == "small":
            value = calculate_fid_given_paths([str(folder / "samples"), str(work / "ours.npz")], **options)
            report.add(name, "fid_with_our_statistics", value, CALL, options)
            save_fid_stats([str(folder / "reference"), str(work / "theirs.npz")], **options)
    report.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
