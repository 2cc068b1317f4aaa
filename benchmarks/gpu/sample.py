"""Sampling: ancestral steps and a short DDIM chain, in images per second."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import BFLOAT16, FLOAT16, FLOAT32, TF32, Precision, Setting, flags_of
from benchmarks.gpu.timing import seconds_once, timed
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.schedule import linear_schedule, respace

STEPS = 5
_TIMESTEPS = 1000
# The longest chain worth its time here.
_CHAIN_LIMIT_S = 6.0


def sample(bench: Bench) -> None:
    """Each precision at each batch; float16, whose speed is bfloat16's, at one of them."""
    batches = bench.setting.sample_batches
    for precision in (BFLOAT16, TF32, FLOAT16, FLOAT32):
        for batch in batches[:2][-1:] if precision is FLOAT16 else batches:
            bench.attempt(f"ancestral, batch {batch}, {precision.name}", partial(_ancestral, bench, batch, precision))


def predict_in(setting: Setting, precision: Precision) -> Model:
    """The network as the product's sampler calls it: autocast inside, float32 outside."""
    network = setting.network().eval().requires_grad_(False)
    dtype = precision.autocast

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(setting.device.type, dtype=dtype, enabled=dtype != torch.float32):
            output: Tensor = network(x_t, t)
        return output.float()

    return predict


def ancestral_steps(setting: Setting, batch: int, precision: Precision) -> Callable[[], Tensor]:
    """The last 5 steps of a chain of 1000, 4 of them with noise."""
    predict, schedule = predict_in(setting, precision), linear_schedule(_TIMESTEPS).to(setting.device)
    ids = torch.arange(batch, device=setting.device)
    x_t = torch.randn(batch, *setting.shape, device=setting.device)

    @torch.inference_mode()
    def run() -> Tensor:
        return ddpm_sample(predict, schedule, x_t, noise=partial(_draw, ids, setting), start=STEPS - 1)

    return run


def _draw(ids: Tensor, setting: Setting, t: int) -> Tensor:
    return normal(0, Stream.Z_T, ids, setting.shape, step=t)


def _ancestral(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    setting = bench.setting
    ids = torch.arange(batch, device=setting.device)
    with flags_of(precision):
        five = timed(setting, ancestral_steps(setting, batch, precision), fewest=3, most=12, target_s=1.2, warmup=1)
        noise = timed(setting, lambda: _draw(ids, setting, 1), target_s=0.2)
        step_ms = five.ms / STEPS
        rates = bench.rates(precision, step_ms, batch, "forward")
        chain = _ddim_chain(setting, batch, precision, 50 * step_ms / 1e3)
    return {
        "step_ms": step_ms,
        "quartiles_ms": [part / STEPS for part in five.quartiles_ms],
        "repeats": len(five.each_ms),
        "image_steps_per_s": rates["images_per_s"],
        "tflop_per_s": rates["tflop_per_s"],
        "share_of_ceiling": rates["share_of_ceiling"],
        "noise_ms": noise.ms,
        "noise_share": noise.ms / step_ms,
        "derived_images_per_s_of_1000_steps": rates["images_per_s"] / _TIMESTEPS,
    } | chain


def _ddim_chain(setting: Setting, batch: int, precision: Precision, expected_s: float) -> dict[str, Any]:
    """Images/s of 50 deterministic steps, measured once: a chain is 50 repeats itself."""
    if expected_s > _CHAIN_LIMIT_S and not setting.toy:
        return {"note": f"DDIM of 50 steps not run: about {expected_s:.0f} s"}
    predict = predict_in(setting, precision)
    schedule = respace(linear_schedule(_TIMESTEPS), 4 if setting.toy else 50).to(setting.device)
    x_T = torch.randn(batch, *setting.shape, device=setting.device)

    @torch.inference_mode()
    def run() -> Tensor:
        return ddim_sample(predict, schedule, x_T)

    return {"ddim_50_images_per_s": batch / seconds_once(setting, run)}
