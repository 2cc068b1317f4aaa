"""The pickles of CIFAR as data: nothing in them is called.

Only dicts, lists, tuples, text, bytes, numbers and uint8 arrays can come out.
"""

from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from infra.pickles import Global, PickleMachine

REMEDY = "take the binary version of the set"
_RECONSTRUCT = frozenset({"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"})
_GLOBALS = _RECONSTRUCT | {"numpy ndarray", "numpy dtype", "_codecs encode"}
_UINT8 = frozenset({"u1", "|u1"})
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class _Dtype:
    """The element type uint8; a file with any other is refused."""


@dataclass
class _Array:
    """An array, empty until its state is set."""

    pixels: NDArray[np.uint8] | None = None


class _Machine(PickleMachine):
    """Knows the names in CIFAR's files."""

    kind: ClassVar[str] = "a pickle of CIFAR"
    remedy: ClassVar[str] = REMEDY

    def knows(self, name: str) -> bool:
        return name in _GLOBALS

    def called(self, name: str, arguments: object) -> object:
        match name, arguments:
            case name, (Global(name="numpy ndarray"), *_) if name in _RECONSTRUCT:
                return _Array()
            case "numpy dtype", (str() | bytes() as given, *_):
                kind = given.decode("latin-1") if isinstance(given, bytes) else given
                if kind not in _UINT8:
                    raise self.refused(f"holds an array of {kind[:80]}, not uint8")
                return _Dtype()
            case "_codecs encode", (str() as text, "latin1"):
                return text.encode("latin-1")
            case _:
                raise self.damaged(f"it calls {name.replace(' ', '.')} with other arguments than CIFAR")

    def set_state(self, target: object, state: object) -> None:
        match target, state:
            case _Dtype(), tuple():
                pass  # a single byte has no byte order, and nothing else in there counts
            case _Array() as array, (_, tuple() as shape, _Dtype(), bool() | int() as fortran, bytes() as data):
                known = len(shape) <= _MAX_DIMENSIONS and all(type(size) is int and size >= 0 for size in shape)
                if not known or prod(shape) != len(data):
                    raise self.damaged(f"an array of another shape has {len(data)} bytes")
                array.pixels = np.frombuffer(data, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
            case _:
                raise self.damaged("it sets the state of something that has no state")


def load(data: bytes, item: str) -> dict[str, object]:
    """Read the dict in a pickle of CIFAR; its keys are text, its arrays uint8, strings of Python 2 are bytes.

    Args:
        data: The pickle.
        item: Its name in an error.

    Raises:
        InputError: If it is anything else, or asks for any other call; nothing is ever called.
    """
    machine = _Machine(item)
    found = machine.run(BytesIO(data))
    if type(found) is not dict:
        raise machine.damaged("it holds no dict")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else key: value.pixels if isinstance(value, _Array) else value
        for key, value in found.items()
    }
