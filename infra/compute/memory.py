"""Memory that runs out, of a GPU or of the machine, as one line."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.compute.units import UnitTask
from infra.errors import ResourceError

# Of torch's allocators on GPUs and on a CPU, and of the libraries that allocate by themselves.
_MESSAGES = re.compile(r"out of memory|can't allocate memory|CU\w+_STATUS_ALLOC_FAILED")
_SHOWN = 200


@contextlib.contextmanager
def memory_errors(stage: str, remedy: str) -> Iterator[None]:
    """Raise a failed allocation as one line.

    Args:
        stage: The stage, for the line.
        remedy: The settings by which the work needs less memory.

    Raises:
        ResourceError: If memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _ran_out(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        cause = f"memory ran out ({lines[0].strip()[:_SHOWN]})"
        raise ResourceError(cause, stage=stage, remedy=remedy) from error


def _ran_out(error: BaseException) -> bool:
    """Tell whether an error is a failed allocation: torch has a class for a GPU's, a message for a CPU's."""
    return isinstance(error, MemoryError) or _MESSAGES.search(str(error)) is not None


@dataclass(frozen=True, kw_only=True)
class MemoryWatch:
    """A task in units whose failed allocations are one line.

    Attributes:
        task: The task.
        stage: The stage, for the line.
        remedy: The settings by which a unit needs less memory.
    """

    task: UnitTask
    stage: str
    remedy: str

    def open(self) -> Callable[[int], None]:
        """Open the task; return its function."""
        with memory_errors(self.stage, self.remedy):
            run = self.task.open()

        def watched(unit: int) -> None:
            with memory_errors(self.stage, self.remedy):
                run(unit)

        return watched
