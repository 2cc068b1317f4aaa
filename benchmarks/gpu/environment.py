"""The device, the versions and torch's own flags."""

import os
import platform

import torch

from benchmarks.gpu.bench import Bench


def environment(bench: Bench) -> None:
    """One row for each fact."""
    facts: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA of torch": torch.version.cuda,
        "host threads": torch.get_num_threads(),
        "matmul.allow_tf32 by default": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32 by default": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark by default": torch.backends.cudnn.benchmark,
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", "unset"),
    }
    if bench.setting.cuda:
        card = torch.cuda.get_device_properties(bench.setting.device)
        facts |= {
            "GPU": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "memory, GiB": card.total_memory / 2**30,
            "cuDNN": torch.backends.cudnn.version(),
            "bfloat16 native": torch.cuda.is_bf16_supported(including_emulation=False),
            "bfloat16 if emulation counts": torch.cuda.is_bf16_supported(),
        }
    for name, value in facts.items():
        bench.row(name, value=value)
