"""The weight gradient by matrix products is the one that autograd takes of the definition, in float64."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_core.network.convolution import Conv3x3, weight_gradient


def _by_autograd(x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().double().clone().requires_grad_() for tensor in (x, weight, bias)]
    return torch.autograd.grad(F.conv2d(leaves[0], leaves[1], leaves[2], padding=1), leaves, grad.double())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 5, 4, 7), (3, 2, 2, 1, 6), (2, 8, 4, 6, 6)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weight_gradient(shape: tuple[int, int, int, int, int], layout: torch.memory_format) -> None:
    b, c_in, c_out, h, w = shape
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(b, c_in, h, w, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    grad = torch.randn(b, c_out, h, w, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    expected = _by_autograd(x, torch.zeros(c_out, c_in, 3, 3), torch.zeros(c_out), grad)[1]
    torch.testing.assert_close(weight_gradient(x, grad), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_all_gradients_of_a_wide_one(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(2)
    conv = Conv3x3(96, 128).to(memory_format=layout)
    assert isinstance(conv.bias, nn.Parameter)
    x = torch.randn(2, 96, 16, 16, generator=generator).contiguous(memory_format=layout).requires_grad_()
    grad = torch.randn(2, 128, 16, 16, generator=generator)
    output = conv(x)
    assert type(output.grad_fn).__name__ == "_ConvolutionBackward"
    ours = torch.autograd.grad(output, (x, conv.weight, conv.bias), grad)
    expected = _by_autograd(x.detach(), conv.weight.detach(), conv.bias.detach(), grad)
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-3)
        assert torch.linalg.vector_norm(got - wanted) < 1e-6 * torch.linalg.vector_norm(wanted)


def test_an_input_without_gradient() -> None:
    conv = Conv3x3(96, 96)
    conv(torch.ones(1, 96, 16, 16)).sum().backward()
    assert conv.weight.grad is not None
    a_side = torch.tensor([15.0, 16.0, 15.0])  # how many of 16 places have that neighbour inside
    torch.testing.assert_close(conv.weight.grad[5, 7], a_side[:, None] * a_side[None, :])


@pytest.mark.parametrize(
    ("channels", "size", "why"), [(95, 16, "narrow"), (96, 15, "small"), (96, 16, "float64"), (96, 16, "frozen")]
)
def test_elsewhere_the_library(channels: int, size: int, why: str) -> None:
    dtype = torch.float64 if why == "float64" else torch.float32
    conv = Conv3x3(channels, 96).to(dtype)
    conv.weight.requires_grad_(why != "frozen")
    x = torch.ones(1, channels, size, size, dtype=dtype, requires_grad=True)
    assert type(conv(x).grad_fn).__name__ == "ConvolutionBackward0"


def test_autocast_is_honoured() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Conv3x3(96, 96)(torch.ones(1, 96, 16, 16)).dtype == torch.bfloat16
