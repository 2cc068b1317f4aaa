"""Random weights of a small network, in the two forms of file that people have; names are written again."""

import io

import safetensors.torch
import torch
from torch import Tensor

from infra.features.dinov2.size import Size
from infra.features.dinov2.weights import weight_shapes

Weights = dict[str, Tensor]

SMALL = Size(depth=2, width=32, heads=2)


def random_weights(size: Size = SMALL, seed: int = 0) -> Weights:
    """Weights in the names of facebookresearch/dinov2 that keep the scale of what passes through them; float32."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(size).items():
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
            weights[name] = 0.8 + 0.3 * drawn
        elif name.endswith(".weight"):
            weights[name] = drawn * (2 / drawn[0].numel()) ** 0.5
        else:
            weights[name] = 0.5 * drawn
    return weights


def with_the_mask(weights: Weights) -> Weights:
    """All entries of the published state dict: those of the features, and the token that only training uses."""
    return weights | {"mask_token": torch.zeros(1, weights["cls_token"].shape[-1])}


def state_dict_file(weights: dict[str, object] | Weights) -> bytes:
    file = io.BytesIO()
    torch.save(weights, file)
    return file.getvalue()


def transformers_weights(weights: Weights, *, contiguous: bool = True) -> Weights:
    """The same weights, and the mask token, in the names of transformers' file."""
    named = {"embeddings.mask_token": torch.zeros(1, weights["cls_token"].shape[-1])}
    for name, tensor in weights.items():
        for old, new in (
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.output.dense"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
        ):
            name = name.replace(old, new)
        if name.startswith("norm."):
            name = f"layer{name}"
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                named[name.replace("attn.qkv", f"attention.attention.{part}")] = (
                    piece.contiguous() if contiguous else piece
                )
        else:
            named[name] = tensor
    return named


def transformers_file(weights: Weights) -> bytes:
    return safetensors.torch.save(transformers_weights(weights), metadata={"format": "pt"})
