"""The Fréchet distance at the width of Inception's features, on the device and on the host."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.timing import timed
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance


def features(bench: Bench) -> None:
    """The sums over 10,000 vectors, then the distance of two such sums, in float64."""
    host = Setting(device=torch.device("cpu"), toy=bench.setting.toy)
    for setting in [bench.setting, host] if bench.setting.cuda else [host]:
        where = setting.device.type
        bench.attempt(f"FeatureStats.update, {where}", partial(_update, setting))
        bench.attempt(f"frechet_distance, {where}", partial(_distance, setting))


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
