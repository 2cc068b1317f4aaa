"""The device, its dtype and the versions that bytes depend on."""

import contextlib
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import torch

from infra.compute.cores import usable_cores
from infra.compute.units import Workers
from infra.errors import ConfigError

# The packages whose versions can change the bytes of some output.
PACKAGES = ("numpy", "pillow", "pyarrow", "scikit-learn", "torch")
_GPU_ONLY = ("float16", "tf32")
# Compute capability 8 is Ampere. An older GPU takes the flag and computes float32.
_TF32_SINCE = 8
_ANY_DTYPE = "set dtype=auto or dtype=float32"


def resolve_device(name: str) -> str:
    """Turn `auto` into `cuda` where this machine has it, else `cpu`."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def resolve_dtype(name: str, device: str) -> str:
    """Turn `auto` into `bfloat16` if the device multiplies it natively, else `float16` on a GPU and `float32` on a CPU.

    Args:
        name: `auto`, `float32`, `tf32`, `bfloat16` or `float16`.
        device: `cpu` or `cuda`.

    Raises:
        ConfigError: If the device has no such format: a CPU neither float16 nor tf32, a GPU before Ampere no tf32.
    """
    if name != "auto":
        _check_dtype(name, device)
        return name
    if device == "cuda":
        # torch also answers yes for older GPUs, which emulate bfloat16 more slowly than they compute float32.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"


def _check_dtype(name: str, device: str) -> None:
    if name in _GPU_ONLY and device == "cpu":
        raise ConfigError(f"{name} is for GPUs, and the device is a processor", item="dtype", remedy=_ANY_DTYPE)
    if name == "tf32" and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] < _TF32_SINCE:
        raise ConfigError(f"{torch.cuda.get_device_name()} has no tf32", item="dtype", remedy=_ANY_DTYPE)


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a resolved name, for autocast; tf32 is float32 with a flag, see `prepare_process`."""
    return {
        "float32": torch.float32,
        "tf32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]


def environment(device: str, packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return everything beside its plan that can change an output's bytes: versions, and the device or CPU class.

    Args:
        device: `cpu` or `cuda`.
        packages: The packages whose versions count, beside Python's own.

    Raises:
        ConfigError: If the device is `cuda` and this machine has none.
    """
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("cuda was asked for and this machine has none", item="device", remedy="set device=cpu")
        name = torch.cuda.get_device_name()
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    python = ".".join(platform.python_version_tuple()[:2])
    return {"device": name, "python": python} | {package: metadata.version(package) for package in packages}


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


def pool(workers: int, threads: int, device: str) -> Workers:
    """The workers of work in units; if none are asked for, one per GPU, or one per `threads` of this machine's cores.

    Args:
        workers: How many; 0 for as many as this machine has room for.
        threads: Of each.
        device: `cpu` or `cuda`.
    """
    gpus = 1 if device == "cuda" else 0
    each = torch.cuda.device_count() if gpus else usable_cores() // threads
    return Workers(count=workers or max(each, 1), cpus=threads, gpus=gpus)
