"""Inception's features by the evaluation's unit of work beside a plain loop, in turn.

`python -m benchmarks.features [--images 128] [--turns 3]`; a unit of the evaluation has 2,048 images. The unit loads
the network, reads sealed images, verifies them, computes and commits; the loop has network and images in memory and
keeps nothing. CPU time is printed beside wall time, because other work on the machine does not count in it.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

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

_SIDE = 32


def sealed(store: Store, name: str, suffix: str, data: bytes, rows: int) -> Manifest:
    """Seal one file as an output."""
    output = Output(store=store, plan=Plan(stage=name, format_version=1, settings={}, inputs={}))
    output.begin({})
    facts = {"split": "train", "first_id": 0, "rows": rows}
    record = output.commit("units/000000", suffix, data, facts)
    return output.seal({}, [{"unit": 0, "rows": rows, **record.as_json()}], {"images": {"train": rows}})


class Times(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float


def timed(call: Callable[[], object]) -> Times:
    """Call once."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def main() -> None:
    """Print images per second of both, their ratio and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    count = options.images
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (count, 3, _SIDE, _SIDE), dtype=np.uint8)
    tensors, whole = inception_weights(torch.device("cpu")), torch.from_numpy(images)
    extract = Inception(tensors)
    times: dict[str, list[Times]] = {"unit of work": [], "plain loop": []}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder)))
        dataset = sealed(store, "prepare", "parquet", encode_images(images, 0, {}, {"split": "train"}), count)
        weights = sealed(store, "weights", "safetensors", encode_tensors(tensors, {"sha256": ""}), 1)
        for turn in range(options.turns):
            output = Output(store=store, plan=Plan(stage="x", format_version=turn, settings={}, inputs={}))
            output.begin({})
            run = FeaturesTask(
                output=output,
                images=dataset,
                split="train",
                chunks=[(0, count)],
                extractor=ExtractorName.INCEPTION,
                weights=weights,
                threads=1,
            ).open()
            times["unit of work"].append(timed(partial(run, 0)))
            times["plain loop"].append(timed(lambda: [extract(part) for part in whole.split(BATCH)]))
    for kind in Times._fields:
        rates = {name: count / statistics.median(getattr(one, kind) for one in some) for name, some in times.items()}
        figures = ", ".join(f"{name} {rate:.3f} images/s" for name, rate in rates.items())
        print(f"{kind}: {figures}, ratio {rates['unit of work'] / rates['plain loop']:.4f}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
