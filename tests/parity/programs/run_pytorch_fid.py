"""pytorch-fid's figures: `run_pytorch_fid.py WORK`, with TORCH_HOME set to a folder that holds the weights."""

import sys
from pathlib import Path

import torchvision_operators
from report import Report

torchvision_operators.declare()

from pytorch_fid.fid_score import calculate_fid_given_paths  # noqa: E402


def main(work: Path) -> None:
    """Measure each collection."""
    report = Report(work, "pytorch-fid")
    options = {"batch_size": 8, "device": "cpu", "dims": 2048, "num_workers": 0}
    for name, folder in report.collections():
        value = calculate_fid_given_paths([str(folder / "samples"), str(folder / "reference")], **options)
        report.add(name, "fid", value, "pytorch_fid.fid_score.calculate_fid_given_paths", options)
    report.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
