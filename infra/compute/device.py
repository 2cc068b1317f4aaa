"""What computes: device, dtype and the versions that bytes depend on."""

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata

import torch

from infra.compute.units import Workers
from infra.errors import ConfigError

# Everything whose version can change the bytes of an output.
_PACKAGES = ("numpy", "pillow", "pyarrow", "scikit-learn", "torch")


def resolve_device(name: str) -> str:
    """Turn `auto` into `cuda` where this machine has it, else `cpu`."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def resolve_dtype(name: str, device: str) -> str:
    """Turn `auto` into `bfloat16` where the device multiplies it natively, else `float32`."""
    if name != "auto":
        return name
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a resolved name."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def environment(device: str) -> dict[str, str]:
    """What can change the bytes of an output beside its plan: versions, and the device or the processor's class."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("cuda was asked for and this machine has none", item="device", remedy="set device=cpu")
        name = torch.cuda.get_device_name()
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    python = ".".join(platform.python_version_tuple()[:2])
    return {"device": name, "python": python} | {package: metadata.version(package) for package in _PACKAGES}


@contextlib.contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with this many threads, since sums depend on their number, and give the caller its own back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_process(threads: int) -> None:
    """Fix what would let two runs of the same code differ: thread count and the choice of kernels."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False


def pool(workers: int, threads: int, device: str) -> Workers:
    """The workers of work in units; if none are asked for, one per GPU, or one per `threads` of this machine's cores.

    Args:
        workers: How many; 0 for as many as this machine has room for.
        threads: Of each.
        device: `cpu` or `cuda`.
    """
    gpus = 1 if device == "cuda" else 0
    each = torch.cuda.device_count() if gpus else (os.cpu_count() or 1) // threads
    return Workers(count=workers or max(each, 1), cpus=threads, gpus=gpus)
