"""The lines at which the host waits for the GPU."""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.bound import bound_call
from benchmarks.gpu.sample import ancestral_steps
from benchmarks.gpu.setting import BFLOAT16, FLOAT32, Setting
from benchmarks.gpu.training import Training
from ddpm_core.rng import Stream, normal
from ddpm_core.train_step import train_step

_TOP = Path(__file__).parents[2]
# In inference mode the second arrives in the place of the first.
_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)


def syncs(bench: Bench) -> None:
    """Each piece of work after warm-up: whether it waits, and at which lines how often. A finding, no failure."""
    setting = bench.setting
    training = Training(setting, setting.train_batches[0], BFLOAT16)
    images, slots = training.data()
    noise = training.noise(slots)
    few = setting.bound_batches[0]
    ids = torch.arange(few, device=setting.device)
    calls: dict[str, Callable[[], object]] = {
        "train_step": lambda: train_step(
            training.model, training.optimizer, training.schedule, images, noise, training.config
        ),
        "noise of a train step": lambda: training.noise(slots),
        "EMA": partial(training.average, torch.ones((), dtype=torch.bool, device=setting.device)),
        "whole step of training": training.step,
        "noise of a sampling step": lambda: normal(0, Stream.Z_T, ids, setting.shape, step=1),
        "5 ancestral steps, 4 with noise": ancestral_steps(setting, few, BFLOAT16),
        "bound of 3 timesteps": bound_call(setting, few, FLOAT32, 3),
    }
    for name, call in calls.items():
        bench.attempt(name, partial(_row, setting, call))


def _row(setting: Setting, call: Callable[[], object]) -> dict[str, Any]:
    call()
    found = questions(setting, call)
    lines = "; ".join(f"{place} ({count} times)" for place, count in found.most_common())
    return {"waits": sum(found.values()), "lines": lines or "none", "under_error": _under_error(setting, call)}


def questions(setting: Setting, call: Callable[[], object]) -> Counter[str]:
    """Count the waits of a call by line; on a processor, the values that it reads from tensors."""
    found: Counter[str] = Counter()
    if not setting.cuda:
        with _Reads(found):
            call()
        return found

    def note(message: Warning | str, *_: object, **__: object) -> None:
        if "synchronizing" in str(message):
            found[_place()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return found


def _under_error(setting: Setting, call: Callable[[], object]) -> str:
    if not setting.cuda:
        return "needs CUDA"
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            return f"stops at {_of_ours(traceback.extract_tb(error.__traceback__))}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return "passes"


class _Reads(TorchDispatchMode):
    """Counts the reads of a tensor's value, which on a GPU would wait."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        if func in _READS:
            self.found[_place()] += 1
        return func(*args, **(kwargs or {}))


def _place() -> str:
    return _of_ours(traceback.extract_stack())


def _of_ours(stack: traceback.StackSummary) -> str:
    """The innermost line in the core, else in the benchmarks."""
    for folder in ("ddpm_core", "benchmarks"):
        for frame in reversed(stack):
            path = Path(frame.filename)
            if path.is_relative_to(_TOP / folder) and path != Path(__file__):
                return f"{path.relative_to(_TOP).as_posix()}:{frame.lineno} `{frame.line}`"
    return "outside"
