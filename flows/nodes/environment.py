"""The environment of each kind of work: the versions and the device that can change its bytes, and no others.

A package that only copies numbers does not count: training reads its images with PyArrow and NumPy, byte by byte. Nor
does scikit-learn, because the digest of its digits is part of the plan.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self

from infra.compute.hardware import Hardware, environments, joined
from infra.compute.nodes import HERE
from infra.compute.units import Workers

Work = Literal["preparing", "training", "sampling", "copying", "extracting", "measuring"]

# The packages that count, beside Python and the device.
PACKAGES: Mapping[Work, tuple[str, ...]] = MappingProxyType(
    {
        "preparing": ("numpy", "pillow", "pyarrow"),  # decodes, resizes, and writes Parquet
        "training": ("torch",),
        "sampling": ("pyarrow", "torch"),  # writes Parquet
        "copying": (),  # takes the numbers of a file as they are
        "extracting": ("torch",),  # an extractor may name more
        "measuring": ("torch",),
    }
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The parts of an environment that count for some work, before it is known which nodes do it.

    Attributes:
        work: The kind of work.
        device: `cpu` or `cuda`.
        more: Further packages that count.
        settings: Execution settings that can change the last bits, by name.
        compiles: Whether the work compiles a network.
        workers: The workers that do it; None if it is done in the driver's process.
    """

    work: Work
    device: str = "cpu"
    more: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = False
    workers: Workers | None = None

    def on(self, nodes: Collection[Hardware]) -> list[dict[str, str]]:
        """Return versions and device by name, with the settings, once for each different environment of the nodes."""
        packages = (*PACKAGES[self.work], *self.more)
        return [{**one, **self.settings} for one in environments(self.device, nodes, packages, compiles=self.compiles)]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, without the workers."""
        return asdict(self) | {"workers": None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the environment that `as_json` wrote."""
        return cls(**{**values, "more": tuple(values["more"])})


def here() -> dict[str, Hardware]:
    """Return this process's machine as the only node, without its GPUs, for work that the driver does itself."""
    from infra.compute.probe import probe

    return {HERE: probe(gpus=False, compiler=False)}


def environment_here(work: Work, more: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of some work that this process does on its processor."""
    return joined(Environment(work=work, more=tuple(more)).on(here().values()))
