"""Pickles as data: a machine that knows the instructions of CIFAR's files and calls nothing.

It is our own because Python's unpickler runs code that a file names. Overriding `find_class` to allow four names is
not enough: these would still be called with any arguments the file chooses, so an array of any shape could be asked
for; and even without a name a memo index in a few bytes can fill the memory. Here a global is a name and not
an object. The few names in CIFAR's files have a fixed meaning with checked arguments, every other name is refused, and
so is a file of too many instructions. Only dicts, lists, tuples, text, bytes, numbers and uint8 arrays can come out.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from math import prod

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError
from infra.sources.files.file import MAX_BYTES

REMEDY = "take the binary version of the set"
_RECONSTRUCT = frozenset({"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"})
_GLOBALS = _RECONSTRUCT | {"numpy ndarray", "numpy dtype", "_codecs encode"}
_UINT8 = frozenset({"u1", "|u1"})
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
# Python 2 wrote bytes as strings. They are read here because pickletools would make text of 150 MB of pixels.
_BYTES = {"SHORT_BINSTRING": "<B", "BINSTRING": "<i", "SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q"}
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_MAX_DIMENSIONS = 4
# CIFAR-100 has some 300,000 instructions; an instruction of one byte may take a hundred bytes of memory.
_MAX_STEPS = 3_000_000


@dataclass(frozen=True)
class _Global:
    """A name that is never looked up."""

    name: str


@dataclass(frozen=True)
class _Dtype:
    """The element type uint8; a file with any other is refused."""


@dataclass
class _Array:
    """An array, empty until its state is set."""

    pixels: NDArray[np.uint8] | None = None


@dataclass
class _Machine:
    item: str
    stack: list[object] = field(default_factory=list)
    below: list[list[object]] = field(default_factory=list)
    memo: dict[object, object] = field(default_factory=dict)

    def run(self, data: bytes) -> object:
        stream = BytesIO(data)
        for _ in range(_MAX_STEPS):
            code = stream.read(1)
            if code not in _OPCODES:
                raise self.damaged(f"there is no instruction {code!r}" if code else "it ends too early")
            name, argument = _OPCODES[code].name, _OPCODES[code].arg
            if name == "STOP":
                return self.pop()
            if name in _BYTES:
                self.push(self.read_bytes(stream, _BYTES[name]))
            elif name in _STEPS:
                _STEPS[name](self, argument.reader(stream) if argument else None)
            else:
                raise InputError(
                    f"holds the pickle instruction {name}, which is refused", item=self.item, remedy=REMEDY
                )
        raise self.damaged(f"it has more than {_MAX_STEPS} instructions")

    def read_bytes(self, stream: BytesIO, size_format: str) -> bytes:
        (size,) = struct.unpack(size_format, stream.read(struct.calcsize(size_format)))
        data = stream.read(size) if 0 <= size <= MAX_BYTES else b""
        if len(data) != size:
            raise self.damaged(f"it says that {size} bytes follow")
        return data

    def push(self, value: object) -> None:
        self.stack.append(value)

    def top(self) -> object:
        if not self.stack:
            raise self.damaged("a value is missing")
        return self.stack[-1]

    def pop(self) -> object:
        self.top()
        return self.stack.pop()

    def pop_some(self, count: int) -> list[object]:
        return [self.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[object]:
        if not self.below:
            raise self.damaged("a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def recall(self, key: object) -> None:
        if key not in self.memo:
            raise self.damaged(f"there is no memo {key}")
        self.push(self.memo[key])

    def remember(self, key: object) -> None:
        self.memo[key] = self.top()

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise self.damaged("it appends to something other than a list")
        target.extend(values)

    def update(self, flat: list[object]) -> None:
        target = self.top()
        keys = flat[::2]
        if type(target) is not dict or len(flat) % 2 or not all(isinstance(key, (bytes, str)) for key in keys):
            raise self.damaged("it sets a key of a dict that is not a name")
        target.update(zip(keys, flat[1::2], strict=True))

    def push_dict(self, flat: list[object]) -> None:
        self.push({})
        self.update(flat)

    def push_global(self, name: object) -> None:
        if name not in _GLOBALS:
            asked = str(name)[:80].replace(" ", ".")
            raise InputError(f"asks for {asked}, which is refused", item=self.item, remedy=REMEDY)
        self.push(_Global(str(name)))

    def reduce(self, function: object, arguments: object) -> None:
        match function, arguments:
            case _Global(name=name), (_Global(name="numpy ndarray"), *_) if name in _RECONSTRUCT:
                self.push(_Array())
            case _Global(name="numpy dtype"), (str() | bytes() as given, *_):
                kind = given.decode("latin-1") if isinstance(given, bytes) else given
                if kind not in _UINT8:
                    raise InputError(f"holds an array of {kind[:80]}, not uint8", item=self.item, remedy=REMEDY)
                self.push(_Dtype())
            case _Global(name="_codecs encode"), (str() as text, "latin1"):
                self.push(text.encode("latin-1"))
            case _:
                called = (
                    function.name.replace(" ", ".") if isinstance(function, _Global) else "something that is not a name"
                )
                raise self.damaged(f"it calls {called} with other arguments than CIFAR")

    def build(self, state: object) -> None:
        match self.top(), state:
            case _Dtype(), tuple():
                pass  # a single byte has no byte order, and nothing else in there counts
            case _Array() as array, (_, tuple() as shape, _Dtype(), bool() | int() as fortran, bytes() as data):
                known = len(shape) <= _MAX_DIMENSIONS and all(type(size) is int and size >= 0 for size in shape)
                if not known or prod(shape) != len(data):
                    raise self.damaged(f"an array of another shape has {len(data)} bytes")
                array.pixels = np.frombuffer(data, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
            case _:
                raise self.damaged("it sets the state of something that has no state")

    def damaged(self, why: str) -> InputError:
        return InputError(f"is not a pickle of CIFAR ({why})", item=self.item, remedy=REMEDY)


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    **{name: _Machine.push for name in _VALUES},
    **{name: _Machine.remember for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    **{name: _Machine.recall for name in ("GET", "BINGET", "LONG_BINGET")},
    "PROTO": lambda _, version: None,
    "FRAME": lambda _, size: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "STRING": lambda machine, text: machine.push(str(text).encode("latin-1")),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "MARK": lambda machine, _: machine.mark(),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop_some(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop_some(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop_some(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "DICT": lambda machine, _: machine.push_dict(machine.pop_mark()),
    "APPEND": lambda machine, _: machine.extend(machine.pop_some(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.update(machine.pop_some(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_mark()),
    "GLOBAL": _Machine.push_global,
    "STACK_GLOBAL": lambda machine, _: machine.push_global(" ".join(str(part)[:80] for part in machine.pop_some(2))),
    "REDUCE": lambda machine, _: machine.reduce(*machine.pop_some(2)),
    "BUILD": lambda machine, _: machine.build(machine.pop()),
}


def load(data: bytes, item: str) -> dict[str, object]:
    """Read the dict in a pickle of CIFAR; its keys are text, its arrays uint8, strings of Python 2 are bytes.

    Args:
        data: The pickle.
        item: Its name in an error.

    Raises:
        InputError: If it is anything else, or asks for any other call; nothing is ever called.
    """
    machine = _Machine(item)
    try:
        found = machine.run(data)
    except (ValueError, OverflowError, struct.error) as error:
        raise machine.damaged(str(error)[:200]) from error
    if type(found) is not dict:
        raise machine.damaged("it holds no dict")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else key: value.pixels if isinstance(value, _Array) else value
        for key, value in found.items()
    }
