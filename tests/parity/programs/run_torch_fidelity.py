"""torch-fidelity's figures: `run_torch_fidelity.py WORK`; it also leaves its features there, for prdc."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torchvision_operators
from report import Report

torchvision_operators.declare()

from torch_fidelity import calculate_metrics  # noqa: E402

SIDES = ("samples", "reference")
EXTRACTOR = "inception-v3-compat"
CALL = "torch_fidelity.calculate_metrics"
SEED = {"rng_seed": 2020}  # the default


def main(work: Path) -> None:
    """Measure each collection; the options that are not named have the program's defaults."""
    report = Report(work, "torch-fidelity")
    for name, folder in report.collections():
        counts = [len(list((folder / side).iterdir())) for side in SIDES]
        kid = {"kid_subsets": 20, "kid_subset_size": min(counts) * 3 // 4} | SEED
        neighbours = {"prc_neighborhood": 3}
        asked: list[tuple[str, str, dict[str, object]]] = [
            ("fid", "frechet_inception_distance", {}),
            ("kid", "kernel_inception_distance_mean", kid),
            ("kid_std", "kernel_inception_distance_std", kid),
            ("precision", "precision", neighbours),
            ("recall", "recall", neighbours),
        ]
        found = measure(work, folder, {"fid": True, "kid": True, "prc": True} | kid | neighbours)
        for metric, key, options in asked:
            report.add(name, metric, found[key], CALL, options)
        keep(work, name)
        for shuffled in (False, True) if name == "digits" else ():  # ten splits need at least ten images
            splits = {"isc_splits": 10, "samples_shuffle": shuffled} | SEED
            found = measure(work, folder, {"isc": True} | splits)
            for metric, key in (("inception_score", "mean"), ("inception_score_std", "std")):
                title = metric.replace("score", "score_shuffled") if shuffled else metric
                report.add(name, title, found[f"inception_score_{key}"], CALL, splits)
    report.write()


def measure(work: Path, folder: Path, options: Mapping[str, object]) -> dict[str, float]:
    """Return the program's figures of a collection; features are cached in the working folder."""
    return calculate_metrics(
        input1=str(folder / "samples"),
        input2=str(folder / "reference"),
        feature_extractor=EXTRACTOR,
        feature_extractor_weights_path=str(work / "weights.pth"),
        cache_root=str(work / "cache"),
        input1_cache_name=f"{folder.name}-samples",
        input2_cache_name=f"{folder.name}-reference",
        batch_size=8,
        cuda=False,
        verbose=False,
        **options,
    )


def keep(work: Path, name: str) -> None:
    """Turn the cached features of a collection into files for prdc."""
    for side in SIDES:
        features = torch.load(work / "cache" / f"{name}-{side}-{EXTRACTOR}-features-2048.pt")
        np.save(work / f"{name}-{side}.npy", features.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
