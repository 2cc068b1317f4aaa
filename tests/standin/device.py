"""A stand-in for a GPU: torch's `meta` device, on which nothing is computed, watched for what a GPU would not do.

`meta` has kernels for the operators, but no numbers, so a test sees where each tensor is and who asks for its values.
torch refuses some of it by itself and lets the rest pass: a convolution with weights on the host, an index on the host,
`x[mask] = 0`, `torch.tensor(..., device=...)`, a tensor in an f-string. `stand_in` refuses all of it with the line.
"""

import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.standin.allowed import HOST_WORK, READS

DEVICE = torch.device("meta")
_TOP = Path(__file__).parents[2]
_OURS = ("ddpm_core", "infra", "flows")
_ATEN = torch.ops.aten
# Their results have a size or a value that the host needs to know.
_VALUES = {
    _ATEN._local_scalar_dense, _ATEN.equal, _ATEN.allclose, _ATEN.is_nonzero, _ATEN.nonzero, _ATEN.masked_select,
    _ATEN._unique, _ATEN._unique2, _ATEN.unique_dim, _ATEN.unique_consecutive, _ATEN.bincount,
}  # fmt: skip
_INDEXING = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_}
_MASKS = (torch.bool, torch.uint8)


class RefusedError(AssertionError):
    """Work that would fail on a GPU, or make the host wait for it."""


class Watch:
    """The calls that were let pass."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.host_work: list[str] = []
        self.pinned: set[int] = set()


@contextmanager
def stand_in(*, with_host: bool = False) -> Iterator[Watch]:
    """Refuse whatever a step on a GPU should not do; see `tests/standin/allowed.py` for the exceptions.

    Args:
        with_host: Tensors may be made on the host and computed with there, as the thread does that draws batches; they
            may still reach the device only from pinned memory and without a wait.
    """
    watch = Watch()
    usual = torch.autocast

    def autocast(device_type: str, *more: Any, **named: Any) -> object:
        # `meta` has no autocast, and dtypes do not change where a tensor is.
        return nullcontext() if device_type == DEVICE.type else usual(device_type, *more, **named)

    def pin(tensor: Tensor) -> Tensor:
        pinned = tensor.clone()
        watch.pinned.add(pinned.data_ptr())
        return pinned

    fused = [*optimizer._get_fused_kernels_supported_devices(), DEVICE.type]
    with (
        mock.patch.object(torch, "autocast", autocast),
        mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", return_value=fused),
        mock.patch.object(Tensor, "pin_memory", pin),
        _Calls(watch),
        _Operators(watch, with_host=with_host),
    ):
        yield watch


class _Calls(TorchFunctionMode):
    """Refuses what reaches no operator: numbers of the host made into a tensor on the device, and tensors as text."""

    _MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
    _TEXTS = (Tensor.__repr__, Tensor.__format__)
    _ARRAYS = (Tensor.numpy, Tensor.__array__)
    _PLACES = (Tensor.__getitem__, Tensor.__setitem__)

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        first = args[0] if args else None
        if func in self._TEXTS and _is_there(first):
            _refuse("writes a tensor of the device as text")
        if func in self._ARRAYS and _is_there(first):
            _refuse("reads values as an array")
        if func in self._PLACES and _is_there(first) and any(isinstance(leaf, int | bool) for leaf in _listed(args[1])):
            _refuse("copies an index of the host to the device")
        result = func(*args, **(kwargs or {}))
        if func in self._MAKERS and _is_there(result) and not _is_there(first):
            _refuse("copies numbers of the host to the device")
        return result


def _listed(index: object) -> list[object]:
    """The entries of the lists in an index."""
    parts = index if isinstance(index, tuple) else (index,)
    return [leaf for part in parts if isinstance(part, list) for leaf in part]


class _Operators(TorchDispatchMode):
    """Sees every operator, those of the backward pass too."""

    def __init__(self, watch: Watch, *, with_host: bool) -> None:
        super().__init__()
        self.watch, self.with_host = watch, with_host

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        kwargs, operator = kwargs or {}, func.overloadpacket
        if func._can_decompose():  # in inference mode operators made of others come whole
            with self:
                return func.decompose(*args, **kwargs)
        if operator is _ATEN._to_copy or operator is _ATEN.copy_:
            return self._copy(func, args, kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(map(_is_there, given)):
            if operator in _VALUES:
                return self._read(f"reads values ({operator.__name__})", given[0])
            if operator in _INDEXING and any(part is not None and part.dtype in _MASKS for part in args[1]):
                _refuse("indexes by a mask, whose count the host must know")
            if any(map(_is_here, given)):
                _refuse(f"gives {operator.__name__} tensors on two devices")
        result = func(*args, **kwargs)
        self._check_place(result)
        return result

    def _read(self, reason: str, tensor: Tensor) -> object:
        """Return a value that stands for those of the device, if this read is allowed."""
        place = _innermost(_frames())
        if not any(place.startswith(f"{file}:") and f"`{line}" in place for file, line in READS.items()):
            _refuse(reason)
        self.watch.reads.append(place)
        return torch.ones((), dtype=tensor.dtype).tolist()

    def _copy(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
        if func.overloadpacket is _ATEN.copy_:
            target, source = args[0].device, args[1]
            is_waiting = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        else:
            source = args[0]
            target, is_waiting = torch.device(kwargs.get("device") or source.device), not kwargs.get("non_blocking")
        if _is_there(source) and target.type == "cpu":
            self._read("copies to the host", source)
            return torch.ones(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        if not _is_there(source) and target == DEVICE:
            if is_waiting:
                _refuse("copies to the device and waits for it (non_blocking is off)")
            if source.data_ptr() not in self.watch.pinned:
                _refuse("copies to the device from memory that is not pinned")
        result = func(*args, **kwargs)
        self._check_place(result)
        return result

    def _check_place(self, result: object) -> None:
        if self.with_host or not any(map(_is_here, tree_leaves(result))):
            return
        frames = _frames()
        for file, function in HOST_WORK.items():
            if any(_file_of(frame) == file and frame.f_code.co_name == function for frame in frames):
                self.watch.host_work.append(function)
                return
        _refuse("makes a tensor on the host")


def _is_there(value: object) -> bool:
    return isinstance(value, Tensor) and value.device == DEVICE


def _is_here(value: object) -> bool:
    """Whether it is a tensor of the host; one without axes is passed to a kernel as a number, and costs nothing."""
    return isinstance(value, Tensor) and value.device.type == "cpu" and value.ndim > 0


def _refuse(reason: str) -> None:
    raise RefusedError(f"{_innermost(_frames())} {reason}")


def _frames() -> list[FrameType]:
    """The frames of this thread, the innermost first."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _file_of(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return path.relative_to(_TOP).as_posix() if path.is_relative_to(_TOP) else ""


def _innermost(frames: Sequence[FrameType]) -> str:
    """The innermost line of the product, else of the tests."""
    for folders in (_OURS, ("tests",)):
        for frame in frames:
            file = _file_of(frame)
            if file.startswith(tuple(f"{folder}/" for folder in folders)) and file != "tests/standin/device.py":
                line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                return f"{file}:{frame.f_lineno} `{line}`"
    return "outside"
