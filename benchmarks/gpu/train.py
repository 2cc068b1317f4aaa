"""The train step: its time by precision and batch, and the parts of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import AS_TORCH_SETS, BFLOAT16, FLOAT16, FLOAT32, TF32, Precision, flags_of
from benchmarks.gpu.timing import peak_gib, timed
from benchmarks.gpu.training import Training, drawn_images


def train(bench: Bench) -> None:
    """Each precision at each batch, one step after the other as the product runs them."""
    images = drawn_images(bench.setting, bench.setting.dataset_size)
    for batch in bench.setting.train_batches:
        for precision in (BFLOAT16, FLOAT32, TF32, FLOAT16, AS_TORCH_SETS):
            what = f"batch {batch}, {precision.name}"
            bench.attempt(what, partial(_step, bench, batch, precision, images))


def parts(bench: Bench) -> None:
    """Shares of the step, and the step with one thing changed."""
    batch = bench.setting.train_batches[0]
    images = drawn_images(bench.setting, bench.setting.dataset_size)
    for precision in (BFLOAT16, FLOAT32):
        training = Training(bench.setting, batch, precision, images=images)
        with flags_of(precision):
            whole = timed(bench.setting, training.step, target_s=1.0)
            bench.row(f"batch {batch}, {precision.name}, the whole step", **whole.row(), share_of_step=1.0)
            for name, call in _parts(training).items():
                what = f"batch {batch}, {precision.name}, {name} alone"
                bench.attempt(what, partial(_part, bench, call, whole.ms))
        del training
        for name, change in _CHANGES.items():
            what = f"batch {batch}, {precision.name}, {name}"
            bench.attempt(what, partial(change, bench, batch, precision, images))


def _step(bench: Bench, batch: int, precision: Precision, images: torch.Tensor) -> dict[str, Any]:
    training = Training(bench.setting, batch, precision, images=images)
    with flags_of(precision):
        training.step()
        peak = peak_gib(bench.setting, training.step)
        times = timed(bench.setting, training.step)
        result = training.step()
    note = None if result.applied else "the gradient was not finite: Adam and the EMA were left out"
    return times.row() | bench.rates(precision, times.ms, batch, "train") | {"peak_gib": peak, "note": note}


def _parts(training: Training) -> dict[str, Callable[[], object]]:
    _, slots = training.data()
    applied = torch.ones((), dtype=torch.bool, device=slots.device)
    weights = list(training.network.parameters())
    return {
        "noise (Philox)": lambda: training.noise(slots),
        "data, order to device": training.data,
        "gradient clipping": lambda: torch.nn.utils.clip_grad_norm_(weights, 1.0),
        "optimiser": training.optimizer.step,
        "EMA": partial(training.average, applied),
    }


def _part(bench: Bench, call: Callable[[], object], whole_ms: float) -> dict[str, Any]:
    times = timed(bench.setting, call, target_s=0.3)
    return times.row() | {"share_of_step": times.ms / whole_ms}


def _contiguous(bench: Bench, batch: int, precision: Precision, images: torch.Tensor) -> dict[str, Any]:
    training = Training(bench.setting, batch, precision, images=images)
    for weights in (training.network, training.ema):
        weights.to(memory_format=torch.contiguous_format)
    with flags_of(precision):
        times = timed(bench.setting, training.step, target_s=1.0)
    return times.row() | bench.rates(precision, times.ms, batch, "train")


def _cudnn_benchmark(bench: Bench, batch: int, precision: Precision, images: torch.Tensor) -> dict[str, Any]:
    training = Training(bench.setting, batch, precision, images=images)
    with flags_of(precision):
        torch.backends.cudnn.benchmark = True
        times = timed(bench.setting, training.step, target_s=1.0, warmup=3)
    return times.row() | bench.rates(precision, times.ms, batch, "train")


_CHANGES = {
    "weights contiguous instead of channels last": _contiguous,
    "cudnn.benchmark on": _cudnn_benchmark,
}
