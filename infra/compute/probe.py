"""The hardware and the versions of the machine that asks."""

import os
import platform
import socket
from importlib import metadata

import torch

from infra.compute.compilation import compiler_version
from infra.compute.cores import usable_cores
from infra.compute.hardware import PACKAGES, Gpu, Hardware

# Ampere. torch also makes tensors of bfloat16 on older GPUs, and multiplies them more slowly than float32.
_BFLOAT16_SINCE = 8


def probe(*, gpus: bool = True, compiler: bool = True) -> Hardware:
    """Return this machine's hardware.

    Args:
        gpus: Also ask for GPUs, which takes memory of them for as long as this process lives.
        compiler: Also start the C++ compiler for its version.
    """
    return Hardware(
        host=socket.gethostname(),
        cpu=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        cpu_bfloat16=torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
        cores=usable_cores(),
        gpus=_gpus() if gpus else (),
        nccl=torch.distributed.is_available() and torch.distributed.is_nccl_available(),
        versions=_versions(),
        compiler=(compiler_version() or "") if compiler else "",
    )


def probe_node() -> Hardware:
    """Return the hardware of the machine of a Ray task that has no GPU of its own.

    Ray can be set to hide all GPUs from such a task.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    return probe()


def _gpus() -> tuple[Gpu, ...]:
    if not torch.cuda.is_available():
        return ()
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(
        Gpu(
            name=gpu.name,
            capability=(gpu.major, gpu.minor),
            bfloat16=torch.version.hip is not None or gpu.major >= _BFLOAT16_SINCE,
            memory=gpu.total_memory,
        )
        for gpu in found
    )


def _versions() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a machine may have torch alone
            continue
    return found
