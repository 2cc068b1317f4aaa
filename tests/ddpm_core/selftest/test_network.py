"""Each way to break the U-Net or a training step is seen, by the family that is about it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddpm_core import train_step
from ddpm_core.diffusion import q_sample
from ddpm_core.ema import update_ema
from ddpm_core.images import to_model_range
from ddpm_core.network import unet
from ddpm_core.network.unet import Downsample, UNet, UNetConfig, timestep_embedding
from ddpm_core.selftest import network
from tests.ddpm_core.selftest.family import failures


def test_another_number_of_parameters(monkeypatch):
    monkeypatch.setattr(UNetConfig, "cifar10", classmethod(lambda cls: cls(num_res_blocks=3)))
    assert failures("network") == ["parameters of the network for CIFAR-10"]


def test_cosines_before_sines(monkeypatch):
    def swapped(t, dim):
        return timestep_embedding(t, dim).roll(dim // 2, dims=1)

    monkeypatch.setattr(network, "timestep_embedding", swapped)
    assert failures("network") == ["sines, then cosines of the timestep: largest error"]


def test_pytorchs_group_norm(monkeypatch):
    monkeypatch.setattr(unet, "_NORM_EPS", 1e-5)
    assert failures("network") == ["GroupNorm of a deviation of 1e-3: largest error"]


@pytest.mark.parametrize("padding", [(1, 0, 1, 0), (1, 1, 1, 1)])
def test_another_padding(monkeypatch, padding):
    def forward(self, x):
        return self.conv(F.pad(x, padding))[:, :, : x.shape[2] // 2, : x.shape[3] // 2]

    monkeypatch.setattr(Downsample, "forward", forward)
    assert failures("network") == ["a pixel through the padding of downsampling: largest error"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_that_is_wrong_in_one_precision(monkeypatch, dtype):
    """Off by a thousandth, as convolutions of too few bits are."""
    forward = nn.Conv2d.forward

    def rough(self, x):
        out = forward(self, x)
        return out + 1e-3 * out.detach().abs().mean() if x.dtype == dtype else out

    monkeypatch.setattr(nn.Conv2d, "forward", rough)
    assert "prediction in float32: relative error" in failures("network")
    assert "gradient: relative error" in failures("training")


def test_a_network_that_forgets_the_timestep(monkeypatch):
    forward = UNet.forward
    monkeypatch.setattr(
        UNet, "forward", lambda self, x_t, t: forward(self, x_t, t * (0 if x_t.dtype == torch.float32 else 1))
    )
    assert failures("network") == ["prediction in float32: relative error"]
    assert "gradient: relative error" in failures("training")


def test_gradients_that_are_no_numbers(monkeypatch):
    clip = nn.utils.clip_grad_norm_

    def spoiled(weights, bound):
        first = next(iter(weights := list(weights)))
        first.grad[0] = float("nan")
        return clip(weights, bound)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spoiled)
    assert "gradient: elements that are not finite" in failures("training")


def test_no_clipping(monkeypatch):
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda weights, bound: torch.tensor(1.0))
    failed = failures("training")
    assert "norm of a gradient clipped to half its norm, over that half" in failed


def test_a_step_the_wrong_way(monkeypatch):
    step = torch.optim.SGD.step

    def upwards(self):
        for group in self.param_groups:
            group["lr"] = -group["lr"]
        step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", upwards)
    assert failures("training") == ["decrease of the loss by a small step, over r |gradient|^2"]


@pytest.mark.parametrize(
    ("function", "spoiled"),
    [
        ("to_model_range", lambda images: to_model_range(images) * 127.5 / 128),
        ("q_sample", lambda schedule, x, t, noise: q_sample(schedule, x, (t + 1).clamp(max=999), noise)),
        ("q_sample", lambda schedule, x, t, noise: q_sample(schedule, x, t, -noise)),
    ],
    ids=["another scale", "t + 1", "the noise's sign"],
)
def test_another_x_t(monkeypatch, function, spoiled):
    monkeypatch.setattr(train_step, function, spoiled)
    failed = failures("training")
    assert "L_simple of a batch: relative error" in failed
    assert "gradient: relative error" in failed


def test_an_average_that_forgets_too_fast(monkeypatch):
    monkeypatch.setattr(network, "update_ema", lambda ema, weights, decay: update_ema(ema, weights, 1 - decay))
    assert failures("training") == ["EMA of (1, -1) and (3, 7) at 0.75: sum"]
