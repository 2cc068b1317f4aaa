"""prdc's figures, on the features that torch-fidelity left: `run_prdc.py WORK`."""

import sys
from pathlib import Path

import numpy as np
from prdc import compute_prdc
from report import Report


def main(work: Path) -> None:
    """Measure each collection at one number of neighbours."""
    report = Report(work, "prdc")
    for name, _ in report.collections():
        samples, reference = (np.load(work / f"{name}-{side}.npy") for side in ("samples", "reference"))
        options = {"nearest_k": 5}
        found = compute_prdc(real_features=reference, fake_features=samples, **options)
        for metric, value in found.items():
            report.add(name, metric, value, "prdc.compute_prdc", options)
    report.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
