"""The weights of a diffusers folder, checked against the tensors of our network."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet, UNetConfig
from flows.exchange.diffusers_unet import modern_name, tensor_name
from flows.exchange.files import read_bytes
from infra.errors import InputError, IntegrityError
from infra.outputs.tensors import decode_foreign_tensors

WEIGHTS = "diffusion_pytorch_model"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # each a float32 without loss


def weights_file(folder: Path) -> Path:
    """Return the file of the weights.

    Raises:
        InputError: If the folder has no weights in one file of safetensors.
    """
    whole = folder / f"{WEIGHTS}.safetensors"
    if whole.exists():
        return whole
    remedy = "write it with diffusers' save_pretrained(..., safe_serialization=True, max_shard_size='100GB')"
    if (folder / f"{whole.name}.index.json").exists():
        raise InputError("has its weights in several files", item=str(folder), remedy=remedy)
    if (folder / f"{WEIGHTS}.bin").exists():
        raise InputError("has its weights only as a pickle, which could run code", item=str(folder), remedy=remedy)
    raise InputError(f"has no {whole.name}", item=str(folder), remedy=remedy)


def read_weights(file: Path, config: UNetConfig) -> tuple[dict[str, Tensor], Any]:
    """Return the network's weights by our names, checked, and the description that an export of ours added."""
    try:
        found, about = decode_foreign_tensors(read_bytes(file), str(file))
    except IntegrityError as error:
        raise InputError(error.cause, item=str(file)) from error
    old, found = found, {modern_name(name): tensor for name, tensor in found.items()}
    if len(found) < len(old):
        raise InputError("has attentions under old and new names", item=str(file))
    with torch.device("meta"):
        wanted = {name: weight.shape for name, weight in UNet(config, seed=None).state_dict().items()}
    names = {tensor_name(name): name for name in wanted}
    for what, others in (("lacks", names.keys() - found.keys()), ("has the unknown", found.keys() - names.keys())):
        if others:
            raise InputError(f"{what} tensor {min(others)}, the first of {len(others)}", item=str(file))
    for theirs, ours in names.items():
        _check_tensor(found[theirs], theirs, wanted[ours], str(file))
    return {ours: found[theirs].float() for theirs, ours in names.items()}, about


def _check_tensor(tensor: Tensor, name: str, shape: torch.Size, item: str) -> None:
    if tensor.shape != shape:
        raise InputError(f"tensor {name} is of shape {list(tensor.shape)}, not {list(shape)}", item=item)
    if tensor.dtype not in _FLOATS:
        raise InputError(f"tensor {name} is of {tensor.dtype}, not of 32 or 16 bits floating", item=item)
    if not bool(tensor.isfinite().all()):
        raise InputError(f"tensor {name} holds numbers that are not finite", item=item)
