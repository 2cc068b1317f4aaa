"""DINOv2's vision transformer a second time: a loop over heads and patches, and every formula written out.

Nothing here knows the project's network. Names of weights are those of facebookresearch/dinov2; the formulas are after
Dosovitskiy et al. 2021 (section 3.1), Touvron et al. 2021 ("Going deeper", the scale of a branch) and Keys 1981.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-6) * weight + bias, per token."""
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def cubic(distance: float) -> float:
    """Keys' kernel with a = -3/4."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def resize_matrix(before: int, after: int, offset: float) -> Tensor:
    """[after, before]: the weights of the four neighbours of each place, the edge beyond the edge."""
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for target in range(after):
        place = (target + 0.5) * before / (after + offset) - 0.5
        for neighbour in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[target, min(max(neighbour, 0), before - 1)] += cubic(place - neighbour)
    return matrix


def positions(weights: Weights, grid: int, offset: float = 0.1) -> Tensor:
    """The class token's embedding, then those of grid x grid tokens."""
    trained = weights["pos_embed"][0, 1:]
    side = math.isqrt(len(trained))
    matrix = resize_matrix(side, grid, offset)
    resized = torch.einsum("yi,xj,ijd->yxd", matrix, matrix, trained.reshape(side, side, -1))
    return torch.cat([weights["pos_embed"][0, :1], resized.reshape(grid * grid, -1)])


def patches(weights: Weights, image: Tensor) -> Tensor:
    """A token per patch, row by row: the sum of its pixels times the kernel."""
    kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    size = kernel.shape[-1]
    rows, columns = image.shape[1] // size, image.shape[2] // size
    return torch.stack(
        [
            (kernel * image[:, y * size : (y + 1) * size, x * size : (x + 1) * size]).sum((1, 2, 3)) + bias
            for y in range(rows)
            for x in range(columns)
        ]
    )


def attention(weights: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Each head has its own rows of q, k and v."""
    joint, bias = weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"]
    width = x.shape[-1]
    size = width // heads
    found = []
    for head in range(heads):
        rows = [slice(part * width + head * size, part * width + (head + 1) * size) for part in range(3)]
        q, k, v = (x @ joint[part].T + bias[part] for part in rows)
        scores = (q @ k.T / math.sqrt(size)).exp()
        found.append(scores / scores.sum(1, keepdim=True) @ v)
    return dense(weights, f"{name}.proj", torch.cat(found, 1))


def outputs(weights: Weights, image: Tensor, depth: int, heads: int) -> Iterator[tuple[str, Tensor]]:
    """The tokens of one image [3, side, side] after each layer, [1 + grid^2, width], by name."""
    tokens = patches(weights, image)
    x = torch.cat([weights["cls_token"][0], tokens]) + positions(weights, math.isqrt(len(tokens)))
    yield "embeddings", x
    for number in range(depth):
        name = f"blocks.{number}"
        x = x + weights[f"{name}.ls1.gamma"] * attention(
            weights, f"{name}.attn", norm(weights, f"{name}.norm1", x), heads
        )
        hidden = gelu(dense(weights, f"{name}.mlp.fc1", norm(weights, f"{name}.norm2", x)))
        x = x + weights[f"{name}.ls2.gamma"] * dense(weights, f"{name}.mlp.fc2", hidden)
        yield name, x
    yield "norm", norm(weights, "norm", x)
