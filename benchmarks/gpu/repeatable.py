"""Bit-equality of two trainings, and of a resumed one, and its cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic as deterministic_settings

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.setting import BFLOAT16, FLOAT32, Precision, flags_of
from benchmarks.gpu.timing import timed
from benchmarks.gpu.training import Training, drawn_images

_STEPS, _BEFORE = 5, 3


def repeatable(bench: Bench) -> None:
    """Five steps twice, and three and two after a resume, under three sets of flags; the last is the product's."""
    images = drawn_images(bench.setting, bench.setting.dataset_size)
    for precision in (BFLOAT16, FLOAT32):
        for flags in ("as torch has it", "deterministic", "deterministic, memory not filled"):
            bench.attempt(f"{precision.name}, {flags}", partial(_twice, bench, precision, flags, images))


@contextmanager
def _set(flags: str, precision: Precision) -> Iterator[None]:
    with flags_of(precision):
        torch.backends.cudnn.benchmark = False
        if flags != "as torch has it":
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.deterministic = True
            # On, it fills every new tensor with NaN: a debugging aid that costs time.
            deterministic_settings.fill_uninitialized_memory = flags == "deterministic"
        yield


def _twice(bench: Bench, precision: Precision, flags: str, images: Tensor) -> dict[str, Any]:
    batch = bench.setting.train_batches[0]

    def fresh() -> Training:
        return Training(bench.setting, batch, precision, images=images)

    with _set(flags, precision):
        try:
            first = _after(fresh(), _STEPS)
        except RuntimeError as error:
            if "determinis" not in str(error):
                raise
            return {"note": f"raises: {error}".splitlines()[0][:250]}
        second = _after(fresh(), _STEPS)
        half = fresh()
        _after(half, _BEFORE)
        resumed = fresh()
        resumed.restore(half.state())
        last = _after(resumed, _STEPS - _BEFORE)
        times = timed(bench.setting, resumed.step, target_s=0.5)
    return {
        "twice_bit_equal": _unequal(first, second) == 0,
        "unequal_weights": _unequal(first, second),
        "resume_bit_equal": _unequal(first, last) == 0,
        "unequal_after_resume": _unequal(first, last),
        "largest_difference": max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)),
    } | times.row()


def _after(training: Training, steps: int) -> list[Tensor]:
    """Every tensor of the state after some steps."""
    for _ in range(steps):
        training.step()
    moments = [value for state in training.optimizer.state.values() for value in state.values()]
    tensors = [*training.network.state_dict().values(), *training.ema.state_dict().values(), *moments]
    return [tensor.detach().clone() for tensor in tensors]


def _unequal(first: list[Tensor], second: list[Tensor]) -> int:
    return sum(int((a != b).sum()) for a, b in zip(first, second, strict=True))
