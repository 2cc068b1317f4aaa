"""Checks of the U-Net and of a training step on a device, against the same network in float64 on the CPU.

Weights are redrawn, because initial weights leave every residual branch almost at zero and would hide its errors.
"""

import copy
import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ddpm_core.ema import update_ema
from ddpm_core.network.unet import Downsample, UNet, UNetConfig, timestep_embedding
from ddpm_core.rng import Stream, normal, words
from ddpm_core.schedule import NoiseSchedule, linear_schedule
from ddpm_core.selftest.check import Check, largest
from ddpm_core.train_step import StepConfig, train_step
from ddpm_core.training_order import TrainingNoise, training_noise

_CIFAR10_PARAMETERS = 35_746_307
_TINY = UNetConfig(
    image_size=8,
    base_channels=16,
    channel_mults=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    norm_groups=4,
    dropout=0.0,
)
_BATCH = 4
# Products in TF32, a GPU's default for convolutions, round their inputs by 2^-11, or 5e-4, in each of ten layers.
_SINGLE_ERROR = 1e-4


def check_network(device: torch.device) -> list[Check]:
    """Check the U-Net's parts against their definitions, and the whole U-Net against float64 on the CPU.

    Errors of tensors are relative, |a - b| / |b|, by Euclidean norms over all elements.
    """
    name = "network"
    net = network_of_every_layer(_TINY)
    x_t = normal(0, Stream.X_T, torch.arange(_BATCH), (3, 8, 8))
    t = torch.tensor([0, 10, 500, 999])
    with torch.no_grad():
        expected = copy.deepcopy(net).double()(x_t.double(), t)
        single = copy.deepcopy(net).to(device)(x_t.to(device), t.to(device))
        double = copy.deepcopy(net).to(device).double()(x_t.to(device).double(), t.to(device))
    with torch.device("meta"):
        count = sum(weight.numel() for weight in UNet(UNetConfig.cifar10(), seed=None).parameters())
    # 1e-4 in float64 too, because the sinusoids are float32, and devices differ in how they round t * frequency.
    return [
        Check(name, "parameters of the network for CIFAR-10", float(count), float(_CIFAR10_PARAMETERS), 0.0),
        Check(name, "sines, then cosines of the timestep: largest error", _embedding_error(device), 0.0, 5e-4),
        Check(name, "GroupNorm of a deviation of 1e-3: largest error", _norm_error(net, device), 0.0, 1e-4),
        Check(name, "a pixel through the padding of downsampling: largest error", _padding_error(device), 0.0, 1e-6),
        Check(name, "prediction in float32: relative error", _distance(single, expected), 0.0, _SINGLE_ERROR),
        Check(name, "prediction in float64: relative error", _distance(double, expected), 0.0, 1e-4),
    ]


def check_training(device: torch.device) -> list[Check]:
    """Check the loss and gradient of one step on L_simple against formulas written out, with autograd in float64.

    L_simple = mean of (eps - eps_theta(sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, t))^2; the reference is computed on the
    CPU. A small step of plain gradient descent with rate r lowers the loss by r |gradient|^2 to first order.
    """
    name = "training"
    schedule = linear_schedule()
    images = (words(0, Stream.X_T, torch.arange(_BATCH), 3 * 8 * 8) & 255).to(torch.uint8).reshape(-1, 3, 8, 8)
    noise = training_noise(0, torch.arange(_BATCH), 1000, (3, 8, 8))
    loss, gradient = _by_hand(network_of_every_layer(_TINY).double(), schedule, images, noise)
    length = float(gradient.norm())
    rate = 1e-2 * loss / length**2

    def step(net: nn.Module, clip: float) -> float:
        moved = training_noise(0, torch.arange(_BATCH, device=device), 1000, (3, 8, 8))
        config = StepConfig(global_batch_size=_BATCH, grad_clip=clip)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        return float(train_step(net, optimizer, tables, images.to(device), moved, config).loss_sum) / _BATCH

    tables, net = schedule.to(device), network_of_every_layer(_TINY).to(device)
    before = step(net, math.inf)
    after = _gradient(net)
    lowered = before - step(net, length / 2)
    clipped = float(_gradient(net).norm())
    average = [torch.tensor([1.0, -1.0], device=device)]
    update_ema(average, [torch.tensor([3.0, 7.0], device=device)], 0.75)
    return [
        Check(name, "L_simple of a batch: relative error", before / loss - 1, 0.0, _SINGLE_ERROR),
        Check(name, "gradient: elements that are not finite", float((~after.isfinite()).sum()), 0.0, 0.0),
        Check(name, "gradient: relative error", _distance(after, gradient), 0.0, _SINGLE_ERROR),
        Check(
            name, "decrease of the loss by a small step, over r |gradient|^2", lowered / (rate * length**2), 1.0, 0.2
        ),
        Check(
            name,
            "norm of a gradient clipped to half its norm, over that half",
            clipped / (length / 2),
            1.0,
            _SINGLE_ERROR,
        ),
        Check(name, "EMA of (1, -1) and (3, 7) at 0.75: sum", float(average[0].sum()), 2.5, 1e-6),
    ]


def network_of_every_layer(config: UNetConfig) -> UNet:
    """Return a network with fixed weights: normal, variance 1 / fan-in; biases and norms shifted by 0.1 normal draws.

    Initial weights leave each residual branch almost at zero and would hide its errors.
    """
    net = UNet(config).eval()
    with torch.no_grad():
        for number, weight in enumerate(net.parameters()):
            z = normal(0, Stream.INITIAL_WEIGHTS, torch.tensor([number]), tuple(weight.shape))[0]
            if weight.ndim > 1:
                weight.copy_(z / math.sqrt(weight[0].numel()))
            else:
                weight.add_(0.1 * z)
    return net


def _distance(computed: Float[Tensor, "*n"], expected: Float[Tensor, "*n"]) -> float:
    """|computed - expected| / |expected|, in float64 on the CPU."""
    return float((computed.cpu().double() - expected).norm() / expected.norm())


def _gradient(net: nn.Module) -> Float[Tensor, " n"]:
    return torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None])


def _by_hand(
    net: UNet, schedule: NoiseSchedule, images: UInt8[Tensor, "b c h w"], noise: TrainingNoise
) -> tuple[float, Float[Tensor, " n"]]:
    """L_simple of the batch and its gradient, in float64."""
    cumprod = (1 - schedule.betas).log().cumsum(0).exp()[noise.t].reshape(-1, 1, 1, 1)
    eps = noise.eps.double()
    x_t = cumprod.sqrt() * (images.double() / 127.5 - 1) + (1 - cumprod).sqrt() * eps
    loss = ((eps - net(x_t, noise.t)) ** 2).mean()
    loss.backward()
    return float(loss.detach()), _gradient(net)


def _embedding_error(device: torch.device) -> float:
    """The error against sin and cos of t 10000^(-i / 7), i = 0..7; at t = 999 float32 angles are off by up to 1e-4."""
    t: Int64[Tensor, " b"] = torch.tensor([0, 1, 500, 999])
    angles = t.double()[:, None] * 10_000 ** (-torch.arange(8, dtype=torch.float64) / 7)
    return largest(timestep_embedding(t.to(device), 16).cpu() - torch.cat((angles.sin(), angles.cos()), dim=1))


@torch.no_grad()
def _norm_error(net: UNet, device: torch.device) -> float:
    """The error of mapping +-1e-3 to +-1 / sqrt(2) by every GroupNorm: the variance 1e-6 and Ho's epsilon are equal."""
    errors = []
    for module in copy.deepcopy(net).to(device).modules():
        if isinstance(module, nn.GroupNorm):
            signs = torch.tensor([1.0, -1.0], device=device).repeat(module.num_channels, 1)[None, :, :, None]
            plain = (module(1e-3 * signs) - module.bias[:, None, None]) / module.weight[:, None, None]
            errors.append(largest(plain - signs / math.sqrt(2)))
    return max(errors)


@torch.no_grad()
def _padding_error(device: torch.device) -> float:
    """The error of two single pixels: padded by 0 before and 1 after, output (i, j) starts at pixel (2 i, 2 j).

    A pixel at (0, 0) meets weight (0, 0) alone. One at (3, 3) of 4 x 4, next to the padding, meets weight (1, 1) in
    output (1, 1).
    """
    layer = Downsample(1)
    layer.conv.weight.copy_(torch.arange(1.0, 10.0).reshape(1, 1, 3, 3))
    nn.init.zeros_(layer.get_parameter("conv.bias"))
    pixels = torch.zeros(2, 1, 4, 4)
    pixels[0, 0, 0, 0] = pixels[1, 0, 3, 3] = 1
    expected = torch.zeros(2, 1, 2, 2)
    expected[0, 0, 0, 0], expected[1, 0, 1, 1] = 1, 5
    return largest(layer.to(device)(pixels.to(device)).cpu() - expected)
