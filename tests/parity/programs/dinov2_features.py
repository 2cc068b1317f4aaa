"""Features of a small DINOv2 with weights from a formula, computed by two other programs; it imports nothing of ours.

`python tests/parity/programs/dinov2_features.py FILE` writes FILE as JSON. It needs torch, numpy, Pillow,
`transformers`, and `dinov2`: the code of Oquab et al. 2023 as it was first released.
"""

import hashlib
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dinov2.models.vision_transformer import DinoVisionTransformer, vit_large
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

WIDTH, DEPTH, HEADS, PATCH, SIDE, TRAINED_SIDE = 32, 2, 2, 14, 224, 518
GRID, TRAINED_GRID = SIDE // PATCH, TRAINED_SIDE // PATCH


def filled(number: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1] that no generator of random numbers decides: sin(0.7368 j^2 + number), j = 0, 1, ..."""
    places = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    return torch.sin(0.7368 * places**2 + number).reshape(shape)


def weights_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that keep the scale of what passes through them, float64; by the order of their names."""
    weights = {}
    for number, name in enumerate(sorted(shapes)):
        drawn = filled(number, shapes[name])
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "gamma")):
            weights[name] = 0.8 + 0.4 * drawn
        elif name.endswith(".weight"):
            weights[name] = drawn * 2 / drawn[0].numel() ** 0.5
        else:
            weights[name] = 0.5 * drawn
    return weights


def images() -> np.ndarray:
    """Three images of 40x32 pixels, uint8 [3, 40, 32, 3]."""
    places = np.arange(3 * 40 * 32 * 3, dtype=np.int64)
    return ((places * places * 31 + places * 7) % 1009 % 256).astype(np.uint8).reshape(3, 40, 32, 3)


def network_input() -> Tensor:
    """The images by the rule of dgm-eval's DINOv2 encoder: Pillow's bicubic resize of the RGB image, / 255, scaled."""
    resized = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.BICUBIC)) for image in images()]
    x = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()
    return (x - mean[:, None, None]) / std[:, None, None]


def digest_of(shapes: dict[str, tuple[int, ...]]) -> str:
    """sha256 of all names with their shapes."""
    listed = [[name, list(shapes[name])] for name in sorted(shapes)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def by_the_original(x: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, and every layer's class token and features by DINOv2's own code."""
    network = DinoVisionTransformer(
        img_size=TRAINED_SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, init_values=1.0,
        block_chunks=0,
    ).eval().double()  # fmt: skip
    weights = weights_of(shapes_of(network))
    network.load_state_dict(weights)
    layers, tokens = {}, network.prepare_tokens_with_masks(x)
    layers["embeddings"] = tokens[:, 0].tolist()
    for number, block in enumerate(network.blocks):
        tokens = block(tokens)
        layers[f"blocks.{number}"] = tokens[:, 0].tolist()
    layers["norm"] = network(x).tolist()
    large = vit_large(patch_size=PATCH, img_size=TRAINED_SIDE, init_values=1.0, block_chunks=0)
    about = {
        "class_tokens": layers,
        "names": digest_of(shapes_of(network)),
        "large": {"names": digest_of(shapes_of(large)), "depth": large.n_blocks, "heads": large.num_heads},
    }
    return weights, about


def in_names_of_transformers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in the names that transformers' modules have today."""
    renamed = {}
    for name, tensor in weights.items():
        name = name.replace("cls_token", "embeddings.cls_token").replace("mask_token", "embeddings.mask_token")
        name = name.replace("pos_embed", "embeddings.position_embeddings")
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = "layernorm" + name.removeprefix("norm") if name.startswith("norm.") else name
        name = name.replace("blocks.", "encoder.layer.").replace("ls1.gamma", "layer_scale1.lambda1")
        name = name.replace("ls2.gamma", "layer_scale2.lambda1").replace("attn.proj", "attention.o_proj")
        if "attn.qkv" in name:
            for part, piece in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.{part}")] = piece
        else:
            renamed[name] = tensor
    return renamed


def by_transformers(weights: dict[str, Tensor], x: Tensor) -> dict[str, Any]:
    """The same by transformers' Dinov2Model: with the original's position embeddings, then with its own."""

    def network(side: int) -> Dinov2Model:
        config = Dinov2Config(
            hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, patch_size=PATCH, image_size=side
        )
        return Dinov2Model(config).eval().double()

    trained = weights["pos_embed"][:, 1:].reshape(1, TRAINED_GRID, TRAINED_GRID, WIDTH).permute(0, 3, 1, 2)
    scale = (GRID + 0.1) / TRAINED_GRID
    resized = F.interpolate(trained, scale_factor=(scale, scale), mode="bicubic").flatten(2).transpose(1, 2)
    positions = torch.cat([weights["pos_embed"][:, :1], resized], 1)
    given, own = network(SIDE), network(TRAINED_SIDE)
    given.load_state_dict(in_names_of_transformers(weights | {"pos_embed": positions}))
    own.load_state_dict(in_names_of_transformers(weights))
    found = given(x, output_hidden_states=True)
    names = ("embeddings", *(f"blocks.{number}" for number in range(DEPTH)))
    layers = {name: state[:, 0].tolist() for name, state in zip(names, found.hidden_states, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        own.save_pretrained(folder)
        data = (Path(folder) / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return {
        "class_tokens": layers | {"norm": found.last_hidden_state[:, 0].tolist()},
        "own_positions": own(x).last_hidden_state[:, 0].tolist(),
        "names": digest_of(shapes),
    }


@torch.no_grad()
def main(file: str) -> None:
    """Write the figures with their origin."""
    x = network_input()
    weights, original = by_the_original(x)
    packages = ("torch", "transformers", "dinov2", "pillow", "numpy")
    figures = {
        "origin": {
            "program": "tests/parity/programs/dinov2_features.py",
            "python": platform.python_version(),
            "packages": {name: version(name) for name in packages},
        },
        "dinov2": original,
        "transformers": by_transformers(weights, x),
    }
    Path(file).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
