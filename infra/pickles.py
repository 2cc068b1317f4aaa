"""Pickles as data: a machine that knows a pickle's instructions and calls nothing.

It is our own because Python's unpickler runs code that a file names. Overriding `find_class` to allow a few names is
not enough: these would still be called with any arguments the file chooses, so an array of any shape could be asked
for; and even without a name a memo index in a few bytes can fill the memory. Here a global is a name and not
an object. The few names that a kind of file has get a fixed meaning with checked arguments. Every other name is
refused, and so is a file of too many instructions.
"""

import pickletools
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar

from infra.errors import InputError

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
# Python 2 wrote bytes as strings. They are read here because pickletools would make text of 150 MB of pixels.
_BYTES = {"SHORT_BINSTRING": "<B", "BINSTRING": "<i", "SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q"}
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
)  # fmt: skip
# CIFAR-100 has some 300,000 instructions; an instruction of one byte may take a hundred bytes of memory.
_MAX_STEPS = 3_000_000
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Global:
    """A name that is never looked up.

    Attributes:
        name: Module and name with a space between them.
    """

    name: str


@dataclass
class PickleMachine(ABC):
    """Runs a pickle's instructions; a kind of pickle says which names it has and what they mean.

    Attributes:
        item: The file's name in an error.
        kind: The kind of file, such as "a pickle of CIFAR".
        remedy: The user's next step if the file is another.
    """

    item: str
    stack: list[object] = field(default_factory=list)
    below: list[list[object]] = field(default_factory=list)
    memo: dict[object, object] = field(default_factory=dict)

    kind: ClassVar[str] = "a pickle of this kind"
    remedy: ClassVar[str] = ""
    # Instructions beyond those that every kind has.
    further: ClassVar[Mapping[str, Callable[["PickleMachine", object], None]]] = {}

    @abstractmethod
    def knows(self, name: str) -> bool:
        """Tell whether this kind of pickle has a name."""

    @abstractmethod
    def called(self, name: str, arguments: object) -> object:
        """Return the result that the call of a name stands for.

        Raises:
            InputError: If it has other arguments than this kind of pickle.
        """

    @abstractmethod
    def set_state(self, target: object, state: object) -> None:
        """Give a result its state.

        Raises:
            InputError: If it has none.
        """

    def run(self, stream: BinaryIO) -> object:
        """Return the pickle's value; the stream then stands behind it.

        Raises:
            InputError: If it asks for anything that this kind of pickle does not have, or is damaged.
        """
        try:
            return self._run(stream)
        except (ValueError, OverflowError, struct.error) as error:
            raise self.damaged(str(error)[:200]) from error

    def _run(self, stream: BinaryIO) -> object:
        for _ in range(_MAX_STEPS):
            code = stream.read(1)
            if code not in _OPCODES:
                raise self.damaged(f"there is no instruction {code!r}" if code else "it ends too early")
            name, argument = _OPCODES[code].name, _OPCODES[code].arg
            if name == "STOP":
                return self.pop()
            step = _STEPS.get(name) or self.further.get(name)
            if name in _BYTES:
                self.push(self.read_bytes(stream, _BYTES[name]))
            elif step:
                step(self, argument.reader(stream) if argument else None)
            else:
                raise self.refused(f"holds the pickle instruction {name}, which is refused")
        raise self.damaged(f"it has more than {_MAX_STEPS} instructions")

    def read_bytes(self, stream: BinaryIO, size_format: str) -> bytes:
        """Read bytes with their number before them."""
        (size,) = struct.unpack(size_format, stream.read(struct.calcsize(size_format)))
        data = stream.read(size) if 0 <= size <= _MAX_BYTES else b""
        if len(data) != size:
            raise self.damaged(f"it says that {size} bytes follow")
        return data

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def top(self) -> object:
        """Return the topmost value."""
        if not self.stack:
            raise self.damaged("a value is missing")
        return self.stack[-1]

    def pop(self) -> object:
        """Take the topmost value."""
        self.top()
        return self.stack.pop()

    def pop_some(self, count: int) -> list[object]:
        """Take the topmost values; the last is the topmost."""
        return [self.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        """Begin a list of values."""
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[object]:
        """Take all values since the last mark."""
        if not self.below:
            raise self.damaged("a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def recall(self, key: object) -> None:
        """Put a remembered value on the stack."""
        if key not in self.memo:
            raise self.damaged(f"there is no memo {key}")
        self.push(self.memo[key])

    def remember(self, key: object) -> None:
        """Remember the topmost value."""
        self.memo[key] = self.top()

    def extend(self, values: list[object]) -> None:
        """Add values to the topmost list."""
        target = self.top()
        if type(target) is not list:
            raise self.damaged("it appends to something other than a list")
        target.extend(values)

    def update(self, flat: list[object]) -> None:
        """Add keys and values to the topmost dict."""
        target = self.top()
        keys = flat[::2]
        if type(target) is not dict or len(flat) % 2 or not all(isinstance(key, (bytes, str)) for key in keys):
            raise self.damaged("it sets a key of a dict that is not a name")
        target.update(zip(keys, flat[1::2], strict=True))

    def push_dict(self, flat: list[object]) -> None:
        """Put a dict of keys and values on the stack."""
        self.push({})
        self.update(flat)

    def push_global(self, name: object) -> None:
        """Put a name on the stack."""
        if not self.knows(str(name)):
            raise self.refused(f"asks for {str(name)[:80].replace(' ', '.')}, which is refused")
        self.push(Global(str(name)))

    def call(self, function: object, arguments: object) -> None:
        """Put the result of a call on the stack."""
        if not isinstance(function, Global):
            raise self.damaged("it calls something that is not a name")
        self.push(self.called(function.name, arguments))

    def build(self, state: object) -> None:
        """Give the topmost value its state."""
        self.set_state(self.top(), state)

    def refused(self, cause: str) -> InputError:
        """Return the error of a file that asks for something."""
        return InputError(cause, item=self.item, remedy=self.remedy)

    def damaged(self, why: str) -> InputError:
        """Return the error of a file that is not of this kind."""
        return self.refused(f"is not {self.kind} ({why})")


_STEPS: dict[str, Callable[[PickleMachine, object], None]] = {
    **{name: PickleMachine.push for name in _VALUES},
    **{name: PickleMachine.remember for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    **{name: PickleMachine.recall for name in ("GET", "BINGET", "LONG_BINGET")},
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
    "GLOBAL": PickleMachine.push_global,
    "STACK_GLOBAL": lambda machine, _: machine.push_global(" ".join(str(part)[:80] for part in machine.pop_some(2))),
    "REDUCE": lambda machine, _: machine.call(*machine.pop_some(2)),
    "BUILD": lambda machine, _: machine.build(machine.pop()),
}
