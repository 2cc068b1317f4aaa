"""The device's two ceilings as measured: bytes moved and operations done per second."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import BFLOAT16, FLOAT16, FLOAT32, TF32, Precision, Setting, flags_of
from benchmarks.gpu.timing import timed


def ceilings(bench: Bench) -> None:
    """A large copy, and one large matrix product in each precision; later rows relate to the latter."""
    bench.attempt("device copy, bytes read and written", partial(_copy, bench.setting))
    for precision in (FLOAT32, TF32, FLOAT16, BFLOAT16):
        bench.attempt(f"matrix product, {precision.name}", partial(_product, bench, precision))


def _copy(setting: Setting) -> dict[str, Any]:
    count = 2**16 if setting.toy else 2**30
    source = torch.randint(-100, 100, (count,), dtype=torch.int32, device=setting.device)
    target = torch.empty_like(source)
    times = timed(setting, lambda: target.copy_(source))
    return times.row() | {"tb_per_s": 2 * 4 * count / times.ms / 1e9}


def _product(bench: Bench, precision: Precision) -> dict[str, Any]:
    size = 64 if bench.setting.toy else 8192
    a, b = (torch.randn(size, size, device=bench.setting.device).to(precision.autocast) for _ in range(2))
    out = torch.empty_like(a)
    with flags_of(precision):
        times = timed(bench.setting, lambda: torch.mm(a, b, out=out))
    tflops = 2 * size**3 / times.ms / 1e9
    bench.ceilings[precision.name] = tflops
    return times.row() | {"size": size, "tflop_per_s": tflops}
