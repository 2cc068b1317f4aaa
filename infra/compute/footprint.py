"""The memory that work takes, found out on torch's `meta` device."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most memory that the tensors of a call take at a time, in bytes; nothing is computed.

    Tensors that are there before do not count. A kernel's own workspace does not show either.

    Args:
        call: Works on tensors of the `meta` device.
    """
    storages = _Storages()
    with storages:
        call()
    return storages.peak


class _Storages(TorchDispatchMode):
    """Adds up the storages that operators return, each once and until nobody holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._seen: set[weakref.ref[torch.UntypedStorage]] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        known = _storages((args, kwargs))
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            # A view has the storage of what it shows, which may be one from before the call.
            if not any(storage is one for one in (*known, *(seen() for seen in self._seen))):
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)

        def gone(reference: weakref.ref[torch.UntypedStorage]) -> None:
            self._seen.discard(reference)
            self._now -= size

        self._seen.add(weakref.ref(storage, gone))


def _storages(tree: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
