"""The environment of each kind of work: the versions and the device that can change its bytes, and no others.

A package that only copies numbers does not count: training reads its images with PyArrow and NumPy, byte by byte. Nor
does scikit-learn, because the digest of its digits is part of the plan.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from infra.compute.device import environment

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


def environment_of(work: Work, device: str, more: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of some work on this machine: versions and device by name.

    Args:
        work: The kind of work.
        device: `cpu` or `cuda`.
        more: Further packages that count.

    Raises:
        ConfigError: If the device is `cuda` and this machine has none.
    """
    return environment(device, (*PACKAGES[work], *more))
