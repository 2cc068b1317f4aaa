"""Our forward pass and train step in turns with those of diffusers."""

from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import BFLOAT16, FLOAT32, TF32, Precision, flags_of
from benchmarks.ours import ours
from benchmarks.turns import in_turns
from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig


def beside(bench: Bench) -> None:
    """Both in each precision; without diffusers one row that says so."""
    if find_spec("diffusers") is None:
        bench.row("diffusers", note="left out: not installed here")
        return
    # The network has no toy size here, and a processor may only emulate bfloat16.
    toy = bench.setting.toy
    for precision in (FLOAT32,) if toy else (BFLOAT16, TF32, FLOAT32):
        for work in ("forward",) if toy else ("forward", "train step"):
            bench.attempt(f"{work}, {precision.name}", partial(_pair, bench, work, precision))


def _pair(bench: Bench, work: str, precision: Precision) -> dict[str, Any]:
    from benchmarks.theirs import theirs  # diffusers is not on every machine

    device, dtype = bench.setting.device, precision.autocast
    batch, repeats = (1, 2) if bench.setting.toy else (128, 10)
    with device:
        network = UNet(UNetConfig.cifar10(), seed=None)
    with flags_of(precision):
        mine, other = ours(device, dtype, batch, network)[work], theirs(device, dtype, batch)[work]
        for call in (mine, other):
            call()
        turns = in_turns(mine, other, device, repeats)
    return {
        "batch": batch,
        "ours_ms": 1e3 * turns.first_s,
        "diffusers_ms": 1e3 * turns.second_s,
        "ratio": turns.ratio,
        "quartiles_of_ratio": [turns.low, turns.high],
        "repeats": repeats,
    }
