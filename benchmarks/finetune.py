"""Fine-tuning on 200 digits: held-out bits/dim against images seen, from fresh weights and from a trained network.

`python -m benchmarks.finetune`: the network learns the digits 0 to 4 with the preset's settings. Training then sees 200
images of the digits 5 to 9, and both ways share settings, order, timesteps and noise. The bound is estimated on the
same held-out digits 5 to 9 with the same noise at every point, so differences are paired.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.likelihood import estimate, fitted
from ddpm_core.images import to_model_range
from flows.artifacts import Dataset, Snapshot
from flows.recipe.settings import load_config
from flows.snapshot import TrainedNetwork, decode_snapshot
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
from infra.storage.open import open_store

FIRST, SHOWN, HELD_OUT, FIT_IMAGES, TIMESTEPS = 5, 200, 256, 32, 20
BASE_IMAGES = 51_200
GOALS = (1_280, 3_200, 6_400, 12_800, 25_600)


def digits(context: Context) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All digits, 8x8, and their numbers."""
    dataset = prepare(load_config("digits", None, []).prepare, context)
    reader = DatasetReader(store=context.store, manifest=dataset.manifest(context.store))
    images, labels = zip(*(reader.load(split) for split in ("train", "test")), strict=True)
    names = np.array([int(name) for name in dataset.class_names])
    return np.concatenate(images)[:, 0], names[np.concatenate(labels)]


def sealed(name: str, train_images: NDArray[np.uint8], test_images: NDArray[np.uint8], context: Context) -> Dataset:
    """A data set of these images."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.npz"
        np.savez(file, x_train=train_images, x_test=test_images)
        settings = ["prepare.kind=arrays", f"prepare.source={file}"]
        return prepare(load_config("digits", None, settings).prepare, context)


def trained(dataset: Dataset, images: int, context: Context, initial: str = "") -> tuple[Snapshot, str]:
    """Train with the preset's settings; return the snapshot and its file."""
    settings = [f"train.images={images}", f"train.initial={initial}"]
    snapshot = train(load_config("digits", None, settings).train, dataset, context)
    manifest = snapshot.manifest(context.store)
    return snapshot, f"{context.store.uri}/{manifest.folder}/{manifest.units[0]['file']}"


def network(snapshot: Snapshot, context: Context) -> TrainedNetwork:
    """The averaged weights."""
    manifest = snapshot.manifest(context.store)
    return decode_snapshot(read_verified(context.store, manifest.folder, manifest.units[0]), snapshot.name)


def bits_per_dim(of: TrainedNetwork, held_out: Tensor, fit: Tensor) -> Tensor:
    """Estimated bits/dim of each held-out image."""
    return estimate(of, held_out, 0, TIMESTEPS, fitted(of, fit))


def cell(values: Tensor) -> str:
    """Mean and standard error over the images."""
    return f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="Where outputs go and are found again. Default: a folder that is removed.")
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(parser.parse_args().root or folder)
        store.make()
        context = Context(store=store, cluster=Cluster(mode="in-process"))
        images, numbers = digits(context)
        early, late = images[numbers < FIRST], images[numbers >= FIRST]
        shown, held_out = late[:SHOWN], late[SHOWN : SHOWN + HELD_OUT]
        few = sealed("few", shown, held_out, context)
        _, base = trained(sealed("base", early[HELD_OUT:], early[:HELD_OUT], context), BASE_IMAGES, context)
        test, fit = (to_model_range(torch.from_numpy(part)[:, None]) for part in (held_out, shown[:FIT_IMAGES]))
        start = bits_per_dim(decode_snapshot(Path(base).read_bytes(), base), test, fit)
        print("| images seen | fresh weights | from the network of 0 to 4 | difference |\n|---|---|---|---|")
        print(f"| 0 | | {cell(start)} | |")
        for goal in GOALS:
            fresh, tuned = (
                bits_per_dim(network(trained(few, goal, context, initial)[0], context), test, fit)
                for initial in ("", base)
            )
            print(f"| {goal:,} | {cell(fresh)} | {cell(tuned)} | {cell(tuned - fresh)} |", flush=True)


if __name__ == "__main__":
    main()
