"""The settings of torch that bytes depend on: number format, threads and kernels."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a resolved name, for autocast; tf32 is float32 with a flag, see `prepare_process`."""
    return {
        "float32": torch.float32,
        "tf32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]


@contextlib.contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with this many threads, since sums depend on their number, and give the caller its own back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_process(threads: int, dtype: str = "float32") -> None:
    """Fix what would let two runs of the same code differ: thread count, kernels and the precision of float32.

    It is for a process that does nothing else; `settings_kept` gives a shared one its own settings back.

    Args:
        threads: The number of threads.
        dtype: The resolved number format of matrix products; `tf32` alone lets float32 be multiplied as TF32.
    """
    # For `repeatable_gradients`: cuBLAS reads it once, at its first product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # TF32, cuDNN's default, rounds the inputs of convolutions to 11 bits, which float32 does not stand for.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Give the caller its own thread count and choice of kernels back, whatever `prepare_process` sets meanwhile."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    with fixed_threads(torch.get_num_threads()):
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = flags


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 as float32 on a GPU too, not as TF32, and give the caller its own setting back."""
    with settings_kept():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        yield


@contextlib.contextmanager
def repeatable_gradients(device: str, *, wanted: bool = True) -> Iterator[None]:
    """Make equal steps give equal bits on a GPU, and give the caller its own settings back; on a CPU they do already.

    Attention's backward pass otherwise adds up in the order in which its blocks end. cuBLAS needs the workspace of
    fixed size that `prepare_process` asks for.

    Args:
        device: `cpu` or `cuda`.
        wanted: False changes nothing.
    """
    if device != "cuda" or not wanted:
        yield
        return
    modes: Any = torch.utils.deterministic  # a module with a property, which its types do not show
    enabled, filled = torch.are_deterministic_algorithms_enabled(), modes.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    # We read no memory before we write it; filling all of it would cost a kernel per tensor.
    modes.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        modes.fill_uninitialized_memory = filled
