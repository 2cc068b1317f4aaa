"""The weights of FD-DINOv2's network from either file that people have, as tensors only: no code of a file runs."""

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from infra.errors import InputError
from infra.features.dinov2.size import LARGE, Size
from infra.features.torch_file import read_torch_file
from infra.features.weights_file import Shape, checked_tensors

FACEBOOK = "dinov2_vitl14_pretrain.pth"
TRANSFORMERS = "model.safetensors"
# The sha256 of the files that are published under these names, as public code pins them; both hold the same weights.
PUBLISHED = {
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428": FACEBOOK,
    "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23": TRANSFORMERS,
}
REMEDY = (
    f"take {FACEBOOK} from dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/, or {TRANSFORMERS} of "
    "huggingface.co/facebook/dinov2-large"
)

_NETWORK = "DINOv2's ViT-L/14"
# Our names and those of transformers: of a whole network, and within a block.
_OUTER = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_INNER = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attn.proj.weight": "attention.output.dense.weight",
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "ls2.gamma": "layer_scale2.lambda1",
}
_QKV = ("query", "key", "value")
_MASK, _TRANSFORMERS_MASK = "mask_token", "embeddings.mask_token"


def weight_shapes(size: Size = LARGE) -> dict[str, Shape]:
    """The shape of every tensor that the features need, by its name in facebookresearch/dinov2."""
    width, hidden = size.width, size.hidden
    shapes: dict[str, Shape] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + size.trained_grid**2, width),
        "patch_embed.proj.weight": (width, 3, size.patch, size.patch),
        "patch_embed.proj.bias": (width,),
    }
    for number in range(size.depth):
        dense = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        dense |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
        for name, shape in dense.items():
            shapes[f"blocks.{number}.{name}.weight"] = shape
            shapes[f"blocks.{number}.{name}.bias"] = shape[:1]
        for name in ("norm1.weight", "norm1.bias", "ls1.gamma", "norm2.weight", "norm2.bias", "ls2.gamma"):
            shapes[f"blocks.{number}.{name}"] = (width,)
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def read_weights(data: bytes, item: str, size: Size = LARGE) -> dict[str, Tensor]:
    """Read a state dict in the names of facebookresearch/dinov2, or a safetensors file in those of transformers.

    Args:
        data: The file.
        item: Its name in an error.
        size: Of the network.

    Returns:
        The tensors of `weight_shapes`, float32.

    Raises:
        InputError: If it is neither, or a name or a shape is not the network's.
    """
    try:
        if data[8:9] == b"{":
            return _from_transformers(_read_safetensors(data, item), item, size)
        return checked_tensors(
            read_torch_file(data, item), weight_shapes(size), {_MASK: (1, size.width)}, network=_NETWORK, item=item
        )
    except InputError as error:
        error.remedy = REMEDY
        raise


def _read_safetensors(data: bytes, item: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"is a damaged safetensors file ({str(error)[:120]})", item=item) from error


def _from_transformers(tensors: dict[str, Tensor], item: str, size: Size) -> dict[str, Tensor]:
    ours = weight_shapes(size)
    parts = {name: _transformers_names(name) for name in ours}
    expected = {
        theirs: (ours[name][0] // len(names), *ours[name][1:]) for name, names in parts.items() for theirs in names
    }
    unused = {_TRANSFORMERS_MASK: (1, size.width)}
    found = checked_tensors(tensors, expected, unused, network=_NETWORK, item=item)
    return {
        name: torch.cat([found[theirs] for theirs in names]) if len(names) > 1 else found[names[0]]
        for name, names in parts.items()
    }


def _transformers_names(name: str) -> list[str]:
    """Return the names in transformers' file of the tensors that are one tensor of ours, along its first axis."""
    if not name.startswith("blocks."):
        return [_OUTER[name]]
    _, number, inner = name.split(".", 2)
    layer = f"encoder.layer.{number}"
    if inner.startswith("attn.qkv."):
        kind = inner.rpartition(".")[2]
        return [f"{layer}.attention.attention.{part}.{kind}" for part in _QKV]
    return [f"{layer}.{_INNER[inner]}"]
