"""Inception's features by the evaluation's unit of work beside a plain loop, in turn: `python -m benchmarks.features`.

The unit reads sealed images, verifies them, computes and commits; the loop has the images in memory and keeps nothing.
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.metrics import inception_weights
from flows.metrics.choices import ExtractorName
from flows.metrics.features import FeaturesTask
from infra.features.inception.network import BATCH, Inception
from infra.outputs.images import encode_images
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import encode_tensors
from infra.storage.open import open_store
from infra.storage.store import Store

_IMAGES, _TURNS, _SIDE = 128, 3, 32


def sealed(store: Store, name: str, suffix: str, data: bytes, rows: int) -> Manifest:
    """Seal one file as an output."""
    output = Output(store=store, plan=Plan(stage=name, format_version=1, settings={}, inputs={}))
    output.begin({})
    facts = {"split": "train", "first_id": 0, "rows": rows}
    record = output.commit("units/000000", suffix, data, facts)
    return output.seal({}, [{"unit": 0, "rows": rows, **record.as_json()}], {"images": {"train": rows}})


def main() -> None:
    """Print images per second of both, their ratio and the peak memory."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 3, _SIDE, _SIDE), dtype=np.uint8)
    tensors, whole = inception_weights(torch.device("cpu")), torch.from_numpy(images)
    extract = Inception(tensors)
    times: dict[str, list[float]] = {"unit of work": [], "plain loop": []}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder)))
        dataset = sealed(store, "prepare", "parquet", encode_images(images, 0, {}, {"split": "train"}), _IMAGES)
        weights = sealed(store, "weights", "safetensors", encode_tensors(tensors, {"sha256": ""}), 1)
        for turn in range(_TURNS):
            output = Output(store=store, plan=Plan(stage="x", format_version=turn, settings={}, inputs={}))
            output.begin({})
            run = FeaturesTask(
                output=output,
                images=dataset,
                split="train",
                chunks=[(0, _IMAGES)],
                extractor=ExtractorName.INCEPTION,
                weights=weights,
                threads=1,
            ).open()
            started = time.perf_counter()
            run(0)
            times["unit of work"].append(time.perf_counter() - started)
            started = time.perf_counter()
            for part in whole.split(BATCH):
                extract(part)
            times["plain loop"].append(time.perf_counter() - started)
    rates = {name: _IMAGES / statistics.median(seconds) for name, seconds in times.items()}
    print(", ".join(f"{name} {rate:.2f} images/s" for name, rate in rates.items()))
    print(f"ratio {rates['unit of work'] / rates['plain loop']:.3f}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
