"""FID's Inception network a second time: straight from the names of TensorFlow's graph, with pools and norms by hand.

Nothing here knows the project's table. The shapes of the kernels come from the weights; strides and paddings are
written out again, after Szegedy et al. 2015 (figures 5, 6 and 7) and the graph `inception-2015-12-05`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Callable[[str], dict[str, Tensor]]


def conv(weights: Weights, scope: str, x: Tensor, stride: int = 1, *, same: bool = True) -> Tensor:
    """Convolution, then (y - mean) / sqrt(variance + 0.001) * gamma + beta, then the positive part."""
    found = weights(scope)
    high, wide = found["kernel"].shape[2:]
    if same:
        x = F.pad(x, (wide // 2, wide // 2, high // 2, high // 2))
    y = F.conv2d(x, found["kernel"], stride=stride)
    mean, variance, gamma, beta = (found[name][:, None, None] for name in ("mean", "variance", "gamma", "beta"))
    return ((y - mean) / (variance + 0.001).sqrt() * gamma + beta).clamp(min=0)


def windows(x: Tensor, stride: int, edge: float | None) -> Tensor:
    """Every 3x3 window [n, c, h, w, 9], with `edge` beyond the image or only the windows within it."""
    if edge is not None:
        x = F.pad(x, (1, 1, 1, 1), value=edge)
    return x.unfold(2, 3, stride).unfold(3, 3, stride).flatten(4)


def average(x: Tensor) -> Tensor:
    """The mean over the pixels of a window that lie within the image."""
    return windows(x, 1, 0).sum(-1) / windows(torch.ones_like(x), 1, 0).sum(-1)


def largest(x: Tensor) -> Tensor:
    return windows(x, 1, -torch.inf).amax(-1)


def halved(x: Tensor) -> Tensor:
    return windows(x, 2, None).amax(-1)


def figure_5(weights: Weights, scope: str, x: Tensor) -> Tensor:
    def at(name: str, x: Tensor) -> Tensor:
        return conv(weights, f"{scope}.{name}", x)

    five = at("tower.conv_1", at("tower.conv", x))
    three = at("tower_1.conv_2", at("tower_1.conv_1", at("tower_1.conv", x)))
    return torch.cat([at("conv", x), five, three, at("tower_2.conv", average(x))], 1)


def figure_6(weights: Weights, scope: str, x: Tensor) -> Tensor:
    def at(name: str, x: Tensor) -> Tensor:
        return conv(weights, f"{scope}.{name}", x)

    short, long = at("tower.conv", x), at("tower_1.conv", x)
    for number in (1, 2):
        short = at(f"tower.conv_{number}", short)
    for number in (1, 2, 3, 4):
        long = at(f"tower_1.conv_{number}", long)
    return torch.cat([at("conv", x), short, long, at("tower_2.conv", average(x))], 1)


def figure_7(weights: Weights, scope: str, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    def at(name: str, x: Tensor) -> Tensor:
        return conv(weights, f"{scope}.{name}", x)

    a, b = at("tower_conv", x), at("tower_1_conv_1", at("tower_1_conv", x))
    wide = [at("tower_mixed_conv", a), at("tower_mixed_conv_1", a)]
    deep = [at("tower_1_mixed_conv", b), at("tower_1_mixed_conv_1", b)]
    return torch.cat([at("conv", x), *wide, *deep, at("tower_2_conv", pool(x))], 1)


def to_17(weights: Weights, scope: str, x: Tensor) -> Tensor:
    tower = conv(weights, f"{scope}.tower.conv_1", conv(weights, f"{scope}.tower.conv", x))
    tower = conv(weights, f"{scope}.tower.conv_2", tower, 2, same=False)
    return torch.cat([conv(weights, f"{scope}.conv", x, 2, same=False), tower, halved(x)], 1)


def to_8(weights: Weights, scope: str, x: Tensor) -> Tensor:
    tower = conv(weights, f"{scope}.tower.conv_1", conv(weights, f"{scope}.tower.conv", x), 2, same=False)
    tower_1 = conv(weights, f"{scope}.tower_1.conv", x)
    for number in (1, 2):
        tower_1 = conv(weights, f"{scope}.tower_1.conv_{number}", tower_1)
    return torch.cat([tower, conv(weights, f"{scope}.tower_1.conv_3", tower_1, 2, same=False), halved(x)], 1)


def outputs(weights: Weights, x: Tensor) -> Iterator[Tensor]:
    """The output of each of the 18 layers of the trunk, from the network's input [n, 3, h, w].

    Args:
        weights: From a scope of the graph, such as `mixed_1.tower.conv`, to its kernel, mean, variance, gamma and beta.
        x: The input.
    """
    yield (x := conv(weights, "conv", x, 2, same=False))
    yield (x := conv(weights, "conv_1", x, same=False))
    yield (x := conv(weights, "conv_2", x))
    yield (x := halved(x))
    yield (x := conv(weights, "conv_3", x))
    yield (x := conv(weights, "conv_4", x, same=False))
    yield (x := halved(x))
    for scope in ("mixed", "mixed_1", "mixed_2"):
        yield (x := figure_5(weights, scope, x))
    yield (x := to_17(weights, "mixed_3", x))
    for scope in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        yield (x := figure_6(weights, scope, x))
    yield (x := to_8(weights, "mixed_8", x))
    yield (x := figure_7(weights, "mixed_9", x, average))
    yield figure_7(weights, "mixed_10", x, largest)
