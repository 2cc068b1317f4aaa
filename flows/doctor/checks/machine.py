"""The cores and the memory that this process may use."""

from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from infra.compute.cores import usable_cores
from infra.compute.system import available_memory

_LEAST = 2 << 30


def check(_: Subject) -> Iterator[Finding]:
    """Count cores, and the memory that is left."""
    free = available_memory()
    cores = usable_cores()
    about = f"{cores} core{'' if cores == 1 else 's'}"
    if free is None:
        yield fine(about)
    elif free < _LEAST:
        cause = f"{about}, and only {free / (1 << 30):.1f} GiB of memory are free; Ray and torch take 2 GiB"
        yield doubt(cause, remedy="end other programs, or run with --in-process")
    else:
        yield fine(f"{about}, {free / (1 << 30):.1f} GiB of free memory")
