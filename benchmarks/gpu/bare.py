"""`python -m benchmarks.gpu.bare`: `benchmarks.gpu.run` on a Python that has torch and nothing else.

The core writes the shapes of its tensors as jaxtyping's annotations, which nothing reads at run time. If jaxtyping is
missing, each stands for a plain tensor here.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType

from torch import Tensor


class _Shape:
    """An annotation such as `Float[Tensor, "b c"]`."""

    def __class_getitem__(cls, _: object) -> type[Tensor]:
        return Tensor


class _Annotations(ModuleType):
    """A module of annotations alone."""

    def __getattr__(self, name: str) -> type[_Shape]:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Shape


def stand_in_for_jaxtyping() -> None:
    """Put a module in the place of jaxtyping if it is missing."""
    if find_spec("jaxtyping") is None:
        sys.modules["jaxtyping"] = _Annotations("jaxtyping")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; see `benchmarks.gpu.run`."""
    stand_in_for_jaxtyping()
    from benchmarks.gpu.run import main as run  # it imports the core

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
