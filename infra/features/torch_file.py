"""The tensors in a file of torch, read as data: a state dict, zipped or in the older form, or a TorchScript archive.

`torch.load` runs Python's unpickler and `torch.jit.load` compiles the archive's code. Here neither happens: the pickle
goes through the machine of `infra.pickles`, a class of the file becomes a record that only has attributes, and every
tensor is checked against the bytes that the file has for it.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import SEEK_CUR, BytesIO
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

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
_NAME_LENGTH = 300
_ZIP = b"PK\x03\x04"


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
    machine = _Machine(item)
    try:
        return _zipped(data, item) if data.startswith(_ZIP) else _older(data, item)
    except (EOFError, LookupError, OSError, OverflowError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise machine.damaged(str(error)[:120]) from error


def _zipped(data: bytes, item: str) -> dict[str, Tensor]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError("a zip without data.pkl")
        folder = pickled[0].removesuffix("data.pkl")
        views = _views(_Machine(item).run(BytesIO(_stored(archive, pickled[0], _PICKLE_BYTES))))
        return _tensors(views, lambda key, size: _stored(archive, f"{folder}data/{key}", size), len(data))


def _stored(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a member's bytes, which are stored uncompressed, so that a small file cannot hold large ones."""
    found = archive.getinfo(name)
    if found.compress_type != zipfile.ZIP_STORED or found.file_size != found.compress_size or found.file_size > limit:
        raise ValueError(f"{name} is compressed, or has {found.file_size} bytes")
    return archive.read(found)


def _older(data: bytes, item: str) -> dict[str, Tensor]:
    """Read the form without a zip: pickles, then the storages in the order of the last pickle."""
    stream = BytesIO(data)
    if _Machine(item).run(stream) != _MAGIC:
        raise ValueError("another program wrote it")
    for _ in range(2):
        _Machine(item).run(stream)
    views, keys = _views(_Machine(item).run(stream)), _Machine(item).run(stream)
    sizes = {view.key: view.count * view.dtype.itemsize for view in views.values()}
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(sizes):
        raise ValueError("it lists other storages than its tensors have")
    starts: dict[str, int] = {}
    for key in map(str, keys):
        starts[key] = stream.seek(8, SEEK_CUR)  # past the number of elements once more
        stream.seek(sizes[key], SEEK_CUR)
    return _tensors(views, lambda key, size: data[starts[key] : starts[key] + size], len(data))


def _views(root: object) -> dict[str, _View]:
    """Return the tensors of a dict, or those among the attributes of objects, each object once."""
    if isinstance(root, dict):
        for name, value in root.items():
            if not isinstance(value, _View):
                raise ValueError(f"{str(name)[:80]} is no tensor")
        return {str(name): value for name, value in root.items()}
    views, waiting, seen = {}, [("", root)], set()
    while waiting:
        prefix, value = waiting.pop()
        if len(prefix) > _NAME_LENGTH:
            raise ValueError("a name is too long")
        if isinstance(value, _View):
            views[prefix.removesuffix(".")] = value
        elif isinstance(value, _Record) and id(value) not in seen:
            seen.add(id(value))
            inner = ((name, part) for name, part in value.attributes.items() if isinstance(part, (_View, _Record)))
            waiting += [(f"{prefix}{name}.", part) for name, part in inner]
    return views


def _tensors(views: dict[str, _View], read: Callable[[str, int], bytes], size: int) -> dict[str, Tensor]:
    """Return the tensors, each with numbers of its own; together they are no larger than the file of this size.

    One storage at a time is in memory beside the tensors.

    Args:
        views: The tensors by name.
        read: (a storage's key, its bytes) -> the storage.
        size: Of the file in bytes.
    """
    by_storage: dict[str, list[str]] = {}
    for name, view in views.items():
        size -= prod(view.shape) * view.dtype.itemsize
        if size < 0:
            raise ValueError(f"{name[:80]} is larger than the rest of the file")
        by_storage.setdefault(view.key, []).append(name)
    tensors: dict[str, Tensor] = {}
    for key, names in by_storage.items():
        first = views[names[0]]
        numbers = read(key, first.count * first.dtype.itemsize)
        whole: Tensor | None = None
        for name in names:
            view = views[name]
            if len(numbers) != view.count * view.dtype.itemsize:
                raise ValueError(f"{name[:80]} has {len(numbers)} bytes")
            if whole is None:
                whole = torch.frombuffer(bytearray(numbers), dtype=view.dtype)
            part = whole.view(view.dtype).as_strided(view.shape, view.strides, view.offset)
            tensors[name] = part.clone(memory_format=torch.contiguous_format)
    return {name: tensors[name] for name in views}
