"""Weights that an extractor takes from a file of someone else: known by their digest, and read as tensors only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.digests import sha256
from infra.errors import InputError, Term
from infra.storage.open import read_file

_MAX_BYTES = 2 << 30

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A kind of file.

    Attributes:
        published: The names of the published files by their sha256; the figures of others are not those of the field.
        read: (bytes, name in an error) -> tensors by name; it runs no code of the file.
        remedy: Says where to get a published file.
    """

    published: Mapping[str, str]
    read: Callable[[bytes, str], dict[str, Tensor]]
    remedy: str

    def bytes_of(self, location: str, digest: str) -> bytes:
        """Return the bytes of a file that is known by its digest.

        Args:
            location: A local path or s3://bucket/key.
            digest: The sha256 that the file must have; empty for that of any published file.

        Raises:
            InputError: If it is not there, cannot be read or has another digest.
        """
        try:
            data = read_file(location, _MAX_BYTES)
        except InputError as error:
            error.remedy = error.remedy or self.remedy
            raise
        found = sha256(data)
        if digest and found != digest:
            raise InputError(f"has the sha256 {found}", item=location, remedy=f"{Term.WEIGHTS_DIGEST} says {digest}")
        if not digest and found not in self.published:
            remedy = f"{self.remedy}; for other weights, state their sha256 by {Term.WEIGHTS_DIGEST}"
            raise InputError(f"is no published file (sha256 {found})", item=location, remedy=remedy)
        return data


def checked_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Shape], unused: Mapping[str, Shape], *, network: str, item: str
) -> dict[str, Tensor]:
    """Return the expected tensors after a check of every name, shape, type and value in a file.

    Args:
        found: The tensors of the file by name.
        expected: The shapes of those that the network needs, which are float32.
        unused: The shapes of others that the file may hold.
        network: Its name in an error.
        item: The file's name in an error.

    Raises:
        InputError: If a name or a shape is not the network's, a value is not finite, or a tensor is missing.
    """
    known = {**expected, **unused}
    for name, tensor in found.items():
        if name not in known:
            raise InputError(f"holds {str(name)[:80]!r}, which {network} does not have", item=item)
        if tuple(tensor.shape) != known[name]:
            raise InputError(f"holds {name} of shape {list(tensor.shape)}, not {list(known[name])}", item=item)
        if name in expected and tensor.dtype != torch.float32:
            raise InputError(f"holds {name} in {tensor.dtype}, not torch.float32", item=item)
        if name in expected and not bool(tensor.isfinite().all()):
            raise InputError(f"holds {name} with values that are not finite", item=item)
    missing = [name for name in expected if name not in found]
    if missing:
        raise InputError(f"lacks {missing[0]} and {len(missing) - 1} more", item=item)
    return {name: found[name] for name in expected}
