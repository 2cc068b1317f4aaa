"""The tensors in a file of torch, read as data: a state dict, zipped or in the older form, or a TorchScript archive.

`torch.load` runs Python's unpickler and `torch.jit.load` compiles the archive's code. Here neither happens: the pickle
goes through the machine of `infra.pickles`, a class of the file becomes a record that only has attributes, and every
tensor is checked against the bytes that the file has for it.
"""

import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from infra.errors import InputError
from infra.pickles import Global, PickleMachine

_STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch DoubleStorage": torch.float64,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
}
_LIST = "torch.jit._pickle "
_CLASSES = ("__torch__.", "__torch__ ")
_KNOWN = frozenset({"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict"})
# Of the older form: the first three pickles of a file are this number, a version and facts about the machine.
_MAGIC = 0x1950A86A20F9469CFC6C
# No name, since a name in a pickle has no space at its end.
_PERSISTENT = "persistent id "
_PICKLE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class _View:
    """A tensor as the pickle describes it: some of the numbers of a storage."""

    key: str
    dtype: torch.dtype
    count: int
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


@dataclass
class _Record:
    """An object of a TorchScript archive: its attributes, and nothing that can be called."""

    attributes: dict[str, object] = field(default_factory=dict)


class _Machine(PickleMachine):
    """Knows the names that describe tensors, and takes a class of the archive for a record."""

    kind: ClassVar[str] = "a file of tensors"
    further: ClassVar = {
        "NEWOBJ": lambda machine, _: machine.call(*machine.pop_some(2)),
        "BINPERSID": lambda machine, _: machine.push(machine.called(_PERSISTENT, machine.pop())),
    }

    def knows(self, name: str) -> bool:
        return name in _KNOWN or name in _STORAGES or name.startswith((*_CLASSES, _LIST))

    def called(self, name: str, arguments: object) -> object:
        match name, arguments:
            case "collections OrderedDict", ():
                return {}
            case "torch._utils _rebuild_tensor_v2", (_View() as whole, int(offset), tuple(shape), tuple(strides), *_):
                return self._part(whole, offset, shape, strides)
            case "torch._utils _rebuild_parameter", (_View() as view, *_):
                return view
            case _, ("storage", Global(name=kind), str(key), _, int(count), *rest) if name == _PERSISTENT:
                if kind in _STORAGES and rest in ([], [None]):
                    return _View(key=key, dtype=_STORAGES[kind], count=count)
            case _, () if name.startswith(_CLASSES):
                return _Record()
            case _, (value, *_) if name.startswith(_LIST):
                return value
        raise self.damaged(f"it calls {name.replace(' ', '.')[:80]} with other arguments than torch")

    def set_state(self, target: object, state: object) -> None:
        match target, state:
            case _Record() as record, dict():
                record.attributes = {str(name): value for name, value in state.items()}
            case dict(), dict():
                pass  # the versions of the layers in a state dict
            case _:
                raise self.damaged("it sets the state of something that has no state")

    def _part(self, whole: _View, offset: int, shape: tuple[object, ...], strides: tuple[object, ...]) -> _View:
        sizes, steps = ([one for one in each if type(one) is int and one >= 0] for each in (shape, strides))
        if not len(sizes) == len(steps) == len(shape) == len(strides) or offset < 0:
            raise self.damaged("a tensor has no shape")
        reach = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        if 0 in sizes or reach >= whole.count or prod(sizes) > whole.count:
            raise self.damaged(f"a tensor of shape {sizes} has {whole.count} numbers")
        return _View(
            key=whole.key, dtype=whole.dtype, count=whole.count, offset=offset, shape=(*sizes,), strides=(*steps,)
        )


def read_torch_file(data: bytes, item: str) -> dict[str, Tensor]:
    """Read the tensors of a file by the names that `state_dict` gives them.

    Args:
        data: What `torch.save` wrote for a dict of tensors, or `torch.jit.save` for a module.
        item: Its name in an error.

    Raises:
        InputError: If it is damaged, asks for anything else, or holds anything but tensors by name.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            root, content = _zipped(archive, item)
            return _resolved(_views(root, item), content, len(data), item)
    except zipfile.BadZipFile:
        root, content = _older(data, item)
        return _resolved(_views(root, item), content, len(data), item)
    except (EOFError, LookupError, OSError, RuntimeError, ValueError) as error:  # the complaints of the zip
        raise _Machine(item).damaged(str(error)[:120]) from error


_Content = Callable[[_View], bytes]


def _zipped(archive: zipfile.ZipFile, item: str) -> tuple[object, _Content]:
    pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickled) != 1:
        raise _Machine(item).damaged("a zip without data.pkl")
    folder = pickled[0].removesuffix("data.pkl")
    root = _Machine(item).run(BytesIO(_stored(archive, pickled[0], _PICKLE_BYTES)))
    return root, lambda view: _stored(archive, f"{folder}data/{view.key}", view.count * view.dtype.itemsize)


def _stored(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a member's bytes, which are stored uncompressed, so that a small file cannot hold large ones."""
    found = archive.getinfo(name)
    if found.compress_type != zipfile.ZIP_STORED or found.file_size != found.compress_size or found.file_size > limit:
        raise ValueError(f"{name} is compressed, or has {found.file_size} bytes")
    return archive.read(found)


def _older(data: bytes, item: str) -> tuple[object, _Content]:
    """Read the form without a zip: pickles, then the storages in the order of the last pickle."""
    stream = BytesIO(data)
    if _Machine(item).run(stream) != _MAGIC:
        raise _Machine(item).damaged("another program wrote it")
    for _ in range(2):
        _Machine(item).run(stream)
    root, keys = _Machine(item).run(stream), _Machine(item).run(stream)
    dtypes = {view.key: view.dtype for _, view in _views(root, item)}
    if type(keys) is not list or not all(type(key) is str and key in dtypes for key in keys):
        raise _Machine(item).damaged("it lists no storages")
    storages: dict[str, bytes] = {}
    for key in keys:
        head = stream.read(8)
        count = struct.unpack("<q", head)[0] if len(head) == 8 else -1
        storages[key] = stream.read(count * dtypes[key].itemsize) if count >= 0 else b""
    return root, lambda view: storages[view.key]


def _views(root: object, item: str) -> Iterator[tuple[str, _View]]:
    """Yield the tensors of a dict, or those among the attributes of objects, each object once."""
    if type(root) is dict:
        for name, value in root.items():
            if not isinstance(value, _View):
                raise InputError(f"holds {str(name)[:80]!r}, which is no tensor", item=item)
            yield str(name), value
        return
    waiting, seen = [("", root)], set()
    while waiting:
        prefix, value = waiting.pop()
        if isinstance(value, _View) and prefix:
            yield prefix, value
        elif isinstance(value, _Record) and id(value) not in seen:
            seen.add(id(value))
            inner = f"{prefix}." if prefix else ""
            waiting += [(inner + name, part) for name, part in value.attributes.items()]


def _resolved(views: Iterator[tuple[str, _View]], content: _Content, size: int, item: str) -> dict[str, Tensor]:
    """Return the tensors, each with numbers of its own; together they are no larger than the file."""
    tensors: dict[str, Tensor] = {}
    for name, view in views:
        size -= prod(view.shape) * view.dtype.itemsize
        numbers = content(view)
        if size < 0 or len(numbers) != view.count * view.dtype.itemsize:
            raise _Machine(item).damaged(f"{name[:80]} has {len(numbers)} bytes")
        whole = torch.frombuffer(bytearray(numbers), dtype=view.dtype)
        tensors[name] = whole.as_strided(view.shape, view.strides, view.offset).clone(
            memory_format=torch.contiguous_format
        )
    return tensors
