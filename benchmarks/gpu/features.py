"""Inception's features on the device, and the Fréchet distance at their width on the device and on the host."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.timing import timed
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from infra.features.inception.network import Inception
from infra.features.inception.weights import weight_shapes


def features(bench: Bench) -> None:
    """Features of 256 images; then the sums over 10,000 vectors and the distance of two such sums, in float64."""
    bench.attempt("Inception, float32", partial(_inception, bench))
    host = Setting(device=torch.device("cpu"), toy=bench.setting.toy)
    for setting in [bench.setting, host] if bench.setting.cuda else [host]:
        where = setting.device.type
        bench.attempt(f"FeatureStats.update, {where}", partial(_update, setting))
        bench.attempt(f"frechet_distance, {where}", partial(_distance, setting))


def _inception(bench: Bench) -> dict[str, Any]:
    """Random weights, in batches of the evaluation's size; the images come from the host's memory."""
    setting, count = bench.setting, 2 if bench.setting.toy else 256
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.rand(shape, generator=generator).to(setting.device) / math.prod(shape[1:])
        for name, shape in weight_shapes().items()
    }
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    network = Inception(weights)
    with FlopCounterMode(display=False) as counted:
        network(images[:1])
    times = timed(setting, lambda: network(images), fewest=3, most=10, target_s=2.0, warmup=1)
    tflops = counted.get_total_flops() * count / times.ms / 1e9
    ceiling = bench.ceilings.get("float32")
    return times.row() | {
        "images": count,
        "images_per_s": 1e3 * count / times.ms,
        "tflop_per_s": tflops,
        "share_of_ceiling": tflops / ceiling if ceiling else None,
    }


def _vectors(setting: Setting, seed: int) -> Tensor:
    """Correlated normal vectors, drawn on the host so that both sides measure the same ones."""
    count, width = (100, 32) if setting.toy else (10_000, 2048)
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) / width**0.5
    drawn = torch.randn(count, width, generator=generator)
    return drawn.to(setting.device) @ mixing.to(setting.device) + 0.1 * seed


def _update(setting: Setting) -> dict[str, Any]:
    vectors = _vectors(setting, 0)
    empty = FeatureStats.empty(vectors.shape[1], setting.device)
    times = timed(setting, lambda: empty.update(vectors), fewest=5, most=10, warmup=1)
    return times.row() | {"vectors": len(vectors), "width": vectors.shape[1]}


def _distance(setting: Setting) -> dict[str, Any]:
    first, second = (_vectors(setting, seed) for seed in (0, 1))
    sides = [FeatureStats.empty(part.shape[1], setting.device).update(part) for part in (first, second)]
    times = timed(setting, lambda: frechet_distance(*sides), fewest=3, most=5, warmup=1)
    return times.row() | {"distance": frechet_distance(*sides)}
