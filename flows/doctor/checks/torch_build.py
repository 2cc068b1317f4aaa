"""torch: whether it loads, and whether it was built for the GPUs of this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine, wrong
from infra.errors import ConfigError, ResourceError

_BUILD = "install a build of torch for this machine's GPUs: https://pytorch.org/get-started/locally"


def check(_: Subject) -> Iterator[Finding]:
    """Load torch and count the GPUs that it sees."""
    try:
        import torch
    except (ImportError, OSError) as error:
        cause = f"does not load ({str(error).strip().partition(chr(10))[0][:200]})"
        raise ConfigError(cause, item="torch", remedy="install torch again") from error
    platforms = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield judge(
        version=torch.__version__,
        built=next((f"{name} {version}" for name, version in platforms.items() if version), ""),
        seen=[torch.cuda.get_device_name(number) for number in range(count)],
        present=gpus_present(),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def judge(*, version: str, built: str, seen: list[str], present: int, hidden: str | None) -> Finding:
    """Return the finding about a build of torch on a machine.

    Args:
        version: torch's version.
        built: The GPU platform of the build; empty for CPUs alone.
        seen: The names of the GPUs that torch sees.
        present: The number of GPUs that the system has a driver for.
        hidden: The value of CUDA_VISIBLE_DEVICES.
    """
    item = f"torch {version}"
    if seen:
        return fine(f"{built}; sees {', '.join(seen)}", item=item)
    if not present:
        return fine(f"{built or 'for CPUs'}; this machine has no GPU", item=item)
    if not built:
        return doubt(f"a build for CPUs alone, and this machine has {present} GPUs", item=item, remedy=_BUILD)
    if hidden is not None and hidden.strip() in ("", "-1"):
        return doubt(
            f"CUDA_VISIBLE_DEVICES hides all of this machine's {present} GPUs", item=item, remedy="unset it to use them"
        )
    return wrong(
        ResourceError(
            f"built for {built}, and sees none of this machine's {present} GPUs",
            item=item,
            remedy=f"update the GPU's driver (nvidia-smi shows its newest CUDA), or {_BUILD}",
        )
    )


def gpus_present(devices: Path = Path("/dev")) -> int:
    """Return the number of GPUs with a driver: NVIDIA's device files, else AMD's, whose number they do not show."""
    nvidia = [path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return len(nvidia) or int((devices / "kfd").exists())
