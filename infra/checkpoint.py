"""Tensors and scalars as safetensors bytes, committed and verified by the output they belong to; never pickled."""

import json
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from infra.errors import IntegrityError

_SCALARS = "ddpm.scalars"


def encode_tensors(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> bytes:
    """Write named tensors and JSON scalars as the bytes of one safetensors file; equal arguments give equal bytes."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(on_cpu, metadata={_SCALARS: json.dumps(scalars, sort_keys=True)})


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
