"""The distance of the device's numbers from the host's: randomness, tables, the network."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import AS_TORCH_SETS, BFLOAT16, FLOAT16, FLOAT32, TF32, Precision, Setting, flags_of
from ddpm_core.diffusion import q_sample
from ddpm_core.network.unet import UNet
from ddpm_core.rng import Stream, integers, normal, uniform, words
from ddpm_core.schedule import linear_schedule

_TABLES = ("alphas_cumprod", "posterior_variance", "posterior_mean_coef_x_start", "posterior_mean_coef_x_t")


def equality(bench: Bench) -> None:
    """Philox, normal numbers, schedule, q_sample, and the forward pass in each precision."""
    setting = bench.setting
    bench.attempt("Philox words, uniform numbers, integers", partial(_bits, setting))
    bench.attempt("normal numbers", partial(_normal, setting))
    bench.attempt("tables of the linear schedule, float64", partial(_tables, setting))
    bench.attempt("q_sample, float32", partial(_q_sample, setting))
    network = setting.network().eval().requires_grad_(False)
    reference = _Reference(setting, network)
    for precision in (FLOAT32, AS_TORCH_SETS, TF32, BFLOAT16, FLOAT16):
        what = f"forward pass, {precision.name}, to float64 on the host"
        bench.attempt(what, partial(reference.error, network, precision))


def _bits(setting: Setting) -> dict[str, Any]:
    index = torch.randint(0, 1 << 48, (512,), generator=torch.Generator().manual_seed(0))
    there = index.to(setting.device)
    equal = []
    for step in (0, 1, 999, (1 << 32) - 1):
        for seed in (0, (1 << 64) - 1):
            ours = words(seed, Stream.Z_T, index, 30, step), words(seed, Stream.Z_T, there, 30, step)
            drawn = uniform(seed, Stream.FLIP, index, (7,), step), uniform(seed, Stream.FLIP, there, (7,), step)
            high = integers(seed, Stream.FLIP, index, 1000, step), integers(seed, Stream.FLIP, there, 1000, step)
            equal += [torch.equal(a, b.cpu()) for a, b in (ours, drawn, high)]
    return {"bit_equal": all(equal), "comparisons": len(equal)}


def _normal(setting: Setting) -> dict[str, Any]:
    index = torch.arange(8 if setting.toy else 512)
    ours = normal(0, Stream.Z_T, index, setting.shape, step=7)
    theirs = normal(0, Stream.Z_T, index.to(setting.device), setting.shape, step=7).cpu()
    apart = (_ordered(ours) - _ordered(theirs)).abs()
    return _difference(ours, theirs) | {
        "unequal_share": float((apart > 0).double().mean()),
        "most_ulp": int(apart.max()),
    }


def _ordered(values: Tensor) -> Tensor:
    """Float32 numbers as whole ones in the same order, neighbours 1 apart."""
    bits = values.contiguous().view(torch.int32).long()
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _tables(setting: Setting) -> dict[str, Any]:
    ours = linear_schedule()
    theirs = linear_schedule().to(setting.device)
    pairs = [(getattr(ours, name), getattr(theirs, name).cpu()) for name in _TABLES]
    relative = max(float(((a - b).abs() / a.abs().clamp(min=1e-300)).max()) for a, b in pairs)
    return {"bit_equal": all(torch.equal(a, b) for a, b in pairs), "largest_relative_difference": relative}


def _q_sample(setting: Setting) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x_start, eps = (
        torch.rand(64, *setting.shape, generator=generator) * 2 - 1,
        normal(0, Stream.TRAINING_EPS, torch.arange(64), setting.shape),
    )
    t = torch.randint(0, 1000, (64,), generator=generator)
    ours = q_sample(linear_schedule(), x_start, t, eps)
    there = [part.to(setting.device) for part in (x_start, t, eps)]
    return _difference(ours, q_sample(linear_schedule().to(setting.device), *there).cpu())


def _difference(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    return {"bit_equal": torch.equal(ours, theirs), "largest_difference": float((ours - theirs).abs().max())}


class _Reference:
    """The forward pass in float64 on the host; the embedding of t stays float32, as the network computes it."""

    def __init__(self, setting: Setting, network: UNet) -> None:
        self.setting = setting
        generator = torch.Generator().manual_seed(1)
        count = 2 if setting.toy else 16
        self.x_t = torch.randn(count, *setting.shape, generator=generator)
        self.t = torch.randint(0, 1000, (count,), generator=generator)
        wide = UNet(setting.config, seed=None).eval().requires_grad_(False).double()
        wide.load_state_dict(network.state_dict())
        self.output = wide(self.x_t.double(), self.t)

    def error(self, network: UNet, precision: Precision) -> dict[str, Any]:
        """The relative error of the device's output."""
        x_t, t = self.x_t.to(self.setting.device), self.t.to(self.setting.device)
        dtype = precision.autocast
        with (
            flags_of(precision),
            torch.inference_mode(),
            torch.autocast(x_t.device.type, dtype=dtype, enabled=dtype != torch.float32),
        ):
            found = network(x_t, t).double().cpu()
        error = float((found - self.output).norm() / self.output.norm())
        return {"relative_error": error, "largest_difference": float((found - self.output).abs().max())}
