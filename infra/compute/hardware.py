"""The hardware and the versions of a node, as the node itself names them, and the choices that follow from them.

Everything here is a function of such answers, so that a driver without a GPU chooses for the machines that work.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from infra.errors import ConfigError

# The packages whose versions can change the bytes of some output.
PACKAGES = ("numpy", "pillow", "pyarrow", "scikit-learn", "torch")
UNKNOWN = "unknown"
GPU_ONLY = ("float16", "tf32")
# Compute capability 8 is Ampere. An older GPU takes the flag and computes float32.
_TF32_SINCE = 8
_ANY_DTYPE = "set dtype=auto or dtype=float32"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as torch names it.

    Attributes:
        name: Its product name.
        capability: Its compute capability, such as (8, 0) for an A100.
        bfloat16: Whether it multiplies bfloat16 natively; emulation does not count.
        memory: Its memory in bytes, used or not.
    """

    name: str
    capability: tuple[int, int]
    bfloat16: bool
    memory: int


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The answer of one node, or of this machine.

    Attributes:
        host: Its name in the network, for error lines.
        cpu: The class of its processor, which decides on torch's kernels.
        cpu_bfloat16: Whether the processor multiplies bfloat16 natively.
        cores: The cores that work may keep busy, within the quota of control groups.
        gpus: All its GPUs that torch can use.
        nccl: Whether its torch has NCCL.
        versions: Versions by name, of Python and of those of `PACKAGES` that are there.
        compiler: Name and version of the C++ compiler of torch.compile; empty if there is none.
    """

    host: str
    cpu: str
    cpu_bfloat16: bool
    cores: int
    gpus: tuple[Gpu, ...] = ()
    nccl: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    compiler: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the hardware that `as_json` wrote."""
        gpus = tuple(Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in values["gpus"])
        return cls(**{**values, "gpus": gpus})

    def devices(self, device: str) -> list[str]:
        """Return the different names of its GPUs, sorted, or the class of its processor.

        Args:
            device: `cpu` or `cuda`.
        """
        return sorted({gpu.name for gpu in self.gpus}) if device == "cuda" else [self.cpu]


def resolve_device(name: str, nodes: Collection[Hardware]) -> str:
    """Turn `auto` into `cuda` if any node has a GPU, else `cpu`; return another name as it is."""
    if name == "auto":
        return "cuda" if any(node.gpus for node in nodes) else "cpu"
    return name


def resolve_dtype(name: str, device: str, nodes: Collection[Hardware]) -> str:
    """Turn `auto` into `bfloat16` if all nodes multiply it natively, else `float16` on GPUs and `float32` on CPUs.

    Args:
        name: `auto`, `float32`, `tf32`, `bfloat16` or `float16`.
        device: `cpu` or `cuda`.
        nodes: The nodes that may do the work.

    Raises:
        ConfigError: If the device has no such format: a CPU neither float16 nor tf32, a GPU before Ampere no tf32.
    """
    gpus = [gpu for node in nodes for gpu in node.gpus] if device == "cuda" else []
    if name != "auto":
        _check_dtype(name, device, gpus)
        return name
    if device == "cuda":
        return "bfloat16" if gpus and all(gpu.bfloat16 for gpu in gpus) else "float16"
    return "bfloat16" if nodes and all(node.cpu_bfloat16 for node in nodes) else "float32"


def _check_dtype(name: str, device: str, gpus: Sequence[Gpu]) -> None:
    if name in GPU_ONLY and device == "cpu":
        raise ConfigError(f"{name} is for GPUs, and the device is a processor", item="dtype", remedy=_ANY_DTYPE)
    old = [gpu.name for gpu in gpus if gpu.capability[0] < _TF32_SINCE]
    if name == "tf32" and old:
        raise ConfigError(f"{old[0]} has no tf32", item="dtype", remedy=_ANY_DTYPE)


def environments(
    device: str, nodes: Collection[Hardware], packages: Sequence[str] = PACKAGES, *, compiles: bool = False
) -> list[dict[str, str]]:
    """Return all that can change an output's bytes beside its plan, once for each different environment of the nodes.

    Args:
        device: `cpu` or `cuda`.
        nodes: The nodes that may do the work.
        packages: The packages whose versions count, beside Python's own.
        compiles: Whether the C++ compiler counts too.
    """
    found: list[dict[str, str]] = []
    for node in nodes:
        versions = {package: node.versions.get(package, UNKNOWN) for package in ("python", *packages)}
        compiler = {"compiler": node.compiler or UNKNOWN} if compiles else {}
        found += [{"device": name} | versions | compiler for name in node.devices(device)]
    return [one for place, one in enumerate(found) if one not in found[:place]]


def joined(environments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return several environments as one; values that differ are sorted and joined by a semicolon."""
    names = [name for one in environments for name in one]
    return {name: "; ".join(sorted({one[name] for one in environments if name in one})) for name in names}


def mixture(environments: Sequence[Mapping[str, str]]) -> str:
    """Return the entries that differ between environments, in words; empty if none does."""
    kinds = {name: {one.get(name, UNKNOWN) for one in environments} for name in joined(environments)}
    return ", ".join(f"{name}: {'; '.join(sorted(found))}" for name, found in kinds.items() if len(found) > 1)


def group_backend(gpus: int, nodes: Collection[Hardware]) -> str:
    """Return the backend of torch.distributed for a group: `nccl`, or `gloo` if any of its nodes cannot take part.

    NCCL needs a GPU of its own for each worker, and every node's torch must have it.

    Args:
        gpus: GPUs of each worker.
        nodes: The nodes that may hold a worker.
    """
    return "nccl" if gpus == 1 and nodes and all(node.gpus and node.nccl for node in nodes) else "gloo"


def gpu_memory(nodes: Collection[Hardware]) -> int:
    """Return the memory in bytes of the smallest GPU of the nodes; 0 if they have none."""
    return min((gpu.memory for node in nodes for gpu in node.gpus), default=0)
