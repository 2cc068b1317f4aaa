"""The environment of each kind of work: the versions and the device that can change its bytes, and no others.

A package that only copies a kind's numbers does not count: training reads its images with PyArrow and NumPy, byte by
byte, and verifies their digests.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from infra.compute.device import environment

Work = Literal["preparing", "preparing digits", "training", "sampling", "copying", "extracting", "measuring"]

# The packages that count, beside Python and the device.
PACKAGES: Mapping[Work, tuple[str, ...]] = MappingProxyType(
    {
        "preparing": ("numpy", "pillow", "pyarrow"),  # decodes, resizes, and writes Parquet
        "preparing digits": ("numpy", "pillow", "pyarrow", "scikit-learn"),  # the images are part of scikit-learn
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
