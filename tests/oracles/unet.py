"""A second U-Net, written from the paper's description and the weights' names by elementary operations only."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_core.network.unet_config import UNetConfig

SMALL = UNetConfig(
    image_size=8, base_channels=8, channel_mults=(1, 2, 2), attention_resolutions=(4,), norm_groups=4, dropout=0.0
)


@torch.no_grad()
def with_random_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn anew, biases and norms too: what starts at 0 or 1 would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter[0].numel() + 1))
    return module.eval()


def randn(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def group_norm(weights: dict[str, Tensor], name: str, x: Tensor, groups: int = 4) -> Tensor:
    parts = x.reshape(len(x), groups, -1)
    mean, variance = parts.mean(-1, keepdim=True), parts.var(-1, unbiased=False, keepdim=True)
    normed = ((parts - mean) / (variance + 1e-6).sqrt()).reshape(x.shape)
    return normed * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def dense(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def conv(weights: dict[str, Tensor], name: str, x: Tensor, **more: int) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **more)


def swish(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def attend(weights: dict[str, Tensor], name: str, x: Tensor, heads: int = 1) -> Tensor:
    batch, channels, height, width = x.shape
    each = channels // heads
    tokens = group_norm(weights, f"{name}.norm", x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
    query, key, value = (dense(weights, f"{name}.{part}", tokens) for part in ("query", "key", "value"))
    parts = []
    for head in range(heads):
        own = slice(head * each, (head + 1) * each)
        scores = torch.exp(query[..., own] @ key[..., own].transpose(1, 2) / math.sqrt(each))
        parts.append((scores / scores.sum(-1, keepdim=True)) @ value[..., own])
    out = dense(weights, f"{name}.project_out", torch.cat(parts, -1))
    return x + out.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def residual(weights: dict[str, Tensor], name: str, x: Tensor, time: Tensor) -> Tensor:
    hidden = conv(weights, f"{name}.conv_1", swish(group_norm(weights, f"{name}.norm_1", x)), padding=1)
    told = dense(weights, f"{name}.time_projection", swish(time))[:, :, None, None]
    if told.shape[1] == 2 * hidden.shape[1]:
        scale, shift = told[:, : hidden.shape[1]], told[:, hidden.shape[1] :]
        hidden = group_norm(weights, f"{name}.norm_2", hidden) * (1 + scale) + shift
    else:
        hidden = group_norm(weights, f"{name}.norm_2", hidden + told)
    hidden = conv(weights, f"{name}.conv_2", swish(hidden), padding=1)
    if f"{name}.shortcut.weight" in weights:
        x = conv(weights, f"{name}.shortcut", x)
    return x + hidden


def reference_unet(
    weights: dict[str, Tensor], x: Tensor, t: Tensor, labels: Tensor | None = None, heads: int = 1
) -> Tensor:
    """SMALL: sizes 8, 4, 2, two residual blocks on the way down, three up, attention at 4; options by the weights."""
    frequencies = 10_000 ** (-torch.arange(4, dtype=torch.float64) / 3)
    angles = t[:, None] * frequencies
    time = dense(weights, "time_1", torch.cat([torch.sin(angles), torch.cos(angles)], 1))
    time = dense(weights, "time_2", swish(time))
    time = time if labels is None else time + weights["class_embedding.weight"][labels]
    stack = [conv(weights, "conv_in", x, padding=1)]
    for level in range(3):
        for block in range(2):
            hidden = residual(weights, f"down.{level}.blocks.{block}", stack[-1], time)
            stack.append(attend(weights, f"down.{level}.attentions.{block}", hidden, heads) if level == 1 else hidden)
        if level < 2:
            padded = F.pad(stack[-1], (0, 1, 0, 1))
            stack.append(conv(weights, f"down.{level}.resize.conv", padded, stride=2))
    hidden = residual(weights, "middle_1", stack[-1], time)
    hidden = residual(weights, "middle_2", attend(weights, "middle_attention", hidden, heads), time)
    for level in range(3):
        for block in range(3):
            hidden = residual(weights, f"up.{level}.blocks.{block}", torch.cat([hidden, stack.pop()], 1), time)
            if level == 1:
                hidden = attend(weights, f"up.{level}.attentions.{block}", hidden, heads)
        if level < 2:
            doubled = hidden.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            hidden = conv(weights, f"up.{level}.resize.conv", doubled, padding=1)
    assert not stack
    return conv(weights, "conv_out", swish(group_norm(weights, "norm_out", hidden)), padding=1)
