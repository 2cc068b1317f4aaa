"""The network's 3x3 convolution, with a faster weight gradient for wide layers in float32 on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

# From these sizes on, matrix products were 1.1 to 1.5 times as fast in paired runs on two cores with AVX2; below them,
# they lost up to half the speed.
_FEWEST_CHANNELS = 96
_FEWEST_PIXELS = 256


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution of stride 1 with zero padding: the output has the input's height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        """Convolve."""
        if self.weight.requires_grad and torch.is_grad_enabled() and self._is_wide(input):
            convolved: Tensor = _Convolution.apply(input, self.weight, self.bias)
            return convolved
        return super().forward(input)

    def _is_wide(self, x: Tensor) -> bool:
        wide = min(self.in_channels, self.out_channels) >= _FEWEST_CHANNELS
        large = x.shape[2] * x.shape[3] >= _FEWEST_PIXELS
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return wide and large and plain


def weight_gradient(
    x: Float[Tensor, "b c_in h w"], grad: Float[Tensor, "b c_out h w"]
) -> Float[Tensor, "c_out c_in 3 3"]:
    """The gradient for the weight of a 3x3 convolution, from its input and the gradient for its output.

    dL/dW[o, c, i, j] = sum over b, y, x of grad[b, o, y, x] padded_x[b, c, y + i, x + j]: nine matrix products. `x` and
    `grad` are laid out as rows of channels in the same padded raster. A shift by (i, j) is then a shift by whole rows,
    which copies nothing. The rows that padding adds to `grad` are 0.
    """
    rows_x = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    rows_grad = F.pad(grad, (0, 2, 0, 2)).permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
    weight = x.new_empty((grad.shape[1], 3, 3, x.shape[1]))
    for i in range(3):
        for j in range(3):
            shift = i * (x.shape[3] + 2) + j
            torch.mm(rows_grad[: len(rows_grad) - shift].T, rows_x[shift:], out=weight[:, i, j])
    return weight.permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors  # type: ignore[misc]  # torch types it as a tuple of one
        grad_x = conv2d_input(x.shape, weight, grad, padding=1) if ctx.needs_input_grad[0] else None
        return grad_x, weight_gradient(x, grad), grad.sum((0, 2, 3))
