"""Tensors and scalars as safetensors bytes, never pickled; the output that holds them commits and verifies them."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from infra.errors import IntegrityError

_SCALARS = "ddpm.scalars"


def encode_tensors(
    tensors: dict[str, Tensor], scalars: dict[str, Any], labels: Mapping[str, str] | None = None
) -> bytes:
    """Write named tensors and JSON scalars as the bytes of one safetensors file; equal arguments give equal bytes.

    `labels` go into the file's metadata next to the scalars, for other programs that expect them there.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {**(labels or {}), _SCALARS: json.dumps(scalars, sort_keys=True)}
    data = safetensors.torch.save(on_cpu, metadata=metadata)
    return data if len(metadata) == 1 else _ordered(data, metadata)


def _ordered(data: bytes, metadata: dict[str, str]) -> bytes:
    """Return the file with its metadata in this order; the library's own order changes from call to call."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start]) | {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[start:]


def decode_tensors(data: bytes, item: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `encode_tensors` wrote.

    Raises:
        IntegrityError: If the bytes are something else.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, json.loads(header["__metadata__"][_SCALARS])
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"is not a safetensors file of ours ({error})", item=item) from error


def decode_foreign_tensors(data: bytes, item: str) -> tuple[dict[str, Tensor], Any]:
    """Read any program's safetensors file; return its tensors, and the scalars of `encode_tensors` or None.

    Raises:
        IntegrityError: If the bytes are not a safetensors file.
    """
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"is not a safetensors file ({error})", item=item) from error
    try:
        return tensors, decode_tensors(data, item)[1]
    except IntegrityError:
        return tensors, None
