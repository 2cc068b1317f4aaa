"""The variational bound: network calls and images per second."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sample import predict_in
from benchmarks.gpu.setting import FLOAT32, TF32, Precision, Setting, flags_of
from benchmarks.gpu.timing import timed
from ddpm_core.choices import Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import BitsPerDim, bits_per_dim_by_variance
from ddpm_core.rng import Stream, normal
from ddpm_core.schedule import linear_schedule

_TIMESTEPS = 1000


def bound(bench: Bench) -> None:
    """A chain of 20 timesteps at each batch, under both fixed variances as the product asks for them."""
    for precision in (FLOAT32, TF32):
        for batch in bench.setting.bound_batches:
            bench.attempt(f"batch {batch}, {precision.name}", partial(_bound, bench, batch, precision))


def bound_call(setting: Setting, batch: int, precision: Precision, timesteps: int) -> Callable[[], list[BitsPerDim]]:
    """The bound of random images by a chain of this length."""
    predict = predict_in(setting, precision)
    schedule = linear_schedule(timesteps, beta_end=0.3).to(setting.device)
    ids = torch.arange(batch, device=setting.device)
    images = torch.randint(0, 256, (batch, *setting.shape), dtype=torch.uint8, device=setting.device)
    x_start = to_model_range(images)

    def noise(t: int) -> Tensor:
        return normal(0, Stream.NLL, ids, setting.shape, step=t)

    @torch.inference_mode()
    def run() -> list[BitsPerDim]:
        variances = [Variance.FIXED_SMALL, Variance.FIXED_LARGE]
        return bits_per_dim_by_variance(predict, schedule, x_start, noise=noise, variances=variances)

    return run


def _bound(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    calls = 3 if bench.setting.toy else 20
    with flags_of(precision):
        times = timed(
            bench.setting,
            bound_call(bench.setting, batch, precision, calls),
            fewest=3,
            most=10,
            target_s=1.0,
            warmup=1,
        )
    call_ms = times.ms / calls
    rates = bench.rates(precision, call_ms, batch, "forward")
    return times.row() | {
        "timesteps": calls,
        "network_calls_per_s": 1e3 / call_ms,
        "tflop_per_s": rates["tflop_per_s"],
        "share_of_ceiling": rates["share_of_ceiling"],
        "derived_images_per_s_of_1000_timesteps": rates["images_per_s"] / _TIMESTEPS,
    }
